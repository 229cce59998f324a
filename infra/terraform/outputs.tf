output "address" {
  description = "Where the gateway answers."
  value       = module.workspace.address

  precondition {
    condition     = var.name == terraform.workspace
    error_message = "These variables are those of ${var.name}, and this is the workspace ${terraform.workspace}."
  }

  # not where it is taken away, as a validation would be
  precondition {
    condition     = alltrue([for file in regexall("/run/secrets/[^ ]+", var.gateway.tls) : fileexists("${var.secrets}/gateway/${basename(file)}")])
    error_message = "The certificate and its key lie in the workspace's secrets/gateway, by the names that tls has of them."
  }
}

output "containers" {
  description = "Names of the containers by what runs in them."
  value       = module.workspace.containers
}
