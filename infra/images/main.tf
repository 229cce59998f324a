# The images of all workspaces, built once and named by their digest; `make images` writes those down for both.
provider "docker" {
  host = var.docker_host
}

locals {
  root = abspath("${path.module}/../..")
  # another revision is another image, and so another container: a gateway that stayed the same is not replaced
  revisions = {
    serving  = var.revision
    platform = var.revision
    gateway  = var.servers
    postgres = var.servers
    watch    = var.servers
  }
}

resource "docker_image" "this" {
  for_each = local.revisions

  name         = "tandem-${each.key}:${each.value}"
  keep_locally = true
  triggers     = { content = var.content, base = var.base }

  build {
    context    = local.root
    dockerfile = "infra/docker/Dockerfile"
    target     = each.key
    builder    = "default"
    no_cache   = var.fresh
    build_args = {
      BASE             = var.base
      UV_DEFAULT_INDEX = var.index
      VERSION          = var.release
      REVISION         = each.value
    }
    dynamic "secrets" {
      for_each = var.ca == "" ? [] : [var.ca]
      content {
        id  = "ca"
        src = secrets.value
      }
    }
  }
}

output "images" {
  description = "Each image's digest."
  value       = { for name, image in docker_image.this : name => image.image_id }
}
