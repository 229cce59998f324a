output "address" {
  description = "Where the gateway answers."
  value       = module.workspace.address

  precondition {
    condition     = var.name == terraform.workspace
    error_message = "These variables are those of ${var.name}, and this is the workspace ${terraform.workspace}."
  }
}

output "containers" {
  description = "Names of the containers by what runs in them."
  value       = module.workspace.containers
}
