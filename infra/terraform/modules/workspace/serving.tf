# Replicas are replaced one before the other: the new one answers before the old one is told to end, which then answers
# for some seconds more. So each has a name that no other has had: one whose replacement failed or was broken off still
# has its own, and the next apply goes forward or back beside it.
locals {
  serving = {
    image  = var.images.serving
    memory = var.serving.memory_mib
    cpus   = var.serving.cpus
    env = {
      TANDEM_ANY_MOMENT    = tostring(var.serving.any_moment)
      TANDEM_ACCESS        = "keys"
      TANDEM_LOG_FORMAT    = "json"
      TANDEM_DRAIN_SECONDS = "4"
      OMP_WAIT_POLICY      = "passive"
    }
    volumes = { var = true, serving = false, ledger = false } # read-only or not
  }
  made_of = substr(sha256(jsonencode([local.serving, var.sizes.log_mib, var.sizes.cgroup_parent])), 0, 8)
}

resource "docker_container" "serving" {
  count = var.serving.replicas

  name    = "tandem-${var.name}-serving-${count.index}-${substr(uuid(), 0, 8)}"
  image   = local.serving.image
  command = ["serve"]
  env     = [for name, value in local.serving.env : "${name}=${value}"]

  restart      = "unless-stopped"
  init         = true
  stop_signal  = "SIGTERM"
  stop_timeout = 20 # longer than it drains
  must_run     = true
  wait         = true
  wait_timeout = 120

  # without, the provider kills what it replaces
  destroy_grace_seconds = 20

  read_only     = true
  security_opts = ["no-new-privileges:true"]
  memory        = local.serving.memory
  memory_swap   = local.serving.memory
  cpus          = format("%.1f", local.serving.cpus)
  cgroup_parent = var.sizes.cgroup_parent == "" ? null : var.sizes.cgroup_parent
  tmpfs         = { "/tmp" = "rw,nosuid,nodev,size=64m,mode=1777" }
  log_driver    = "json-file"
  log_opts      = { max-size = "${var.sizes.log_mib}m", max-file = "3" }

  capabilities {
    drop = ["ALL"]
  }

  labels {
    label = "tandem.workspace"
    value = var.name
  }

  # of what could be changed in place, too, a new one is made
  labels {
    label = "tandem.made-of"
    value = local.made_of
  }

  healthcheck {
    test         = ["CMD", "ready"]
    interval     = "10s"
    timeout      = "5s"
    start_period = "1m0s"
    retries      = 3
  }

  networks_advanced {
    name    = docker_network.this["front"].name
    aliases = ["serving"]
  }

  dynamic "mounts" {
    for_each = local.serving.volumes
    content {
      type      = "volume"
      source    = docker_volume.this[mounts.key].name
      target    = local.folder[mounts.key]
      read_only = mounts.value
    }
  }

  lifecycle {
    create_before_destroy = true
    ignore_changes        = [name]
  }
}
