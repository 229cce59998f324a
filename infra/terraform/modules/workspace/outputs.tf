output "address" {
  description = "Where the gateway answers."
  value       = local.address
}

output "containers" {
  description = "Names of the containers by what runs in them."
  value = merge(
    { for name, each in docker_container.this : name => each.name },
    { for place, each in docker_container.serving : "serving ${place}" => each.name },
  )
}
