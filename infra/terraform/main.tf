provider "docker" {
  host = var.docker_host
}

module "workspace" {
  source = "./modules/workspace"

  name     = var.name
  images   = var.images
  secrets  = var.secrets
  gateway  = var.gateway
  serving  = var.serving
  platform = var.platform
  sizes    = var.sizes
  policy   = var.policy
  schedule = var.schedule
  alerts   = var.alerts
  grafana  = var.grafana
}
