# Nothing leads from one network to another but a container that is in both.
locals {
  networks = {
    edge  = "the gateway's published port, and the way out for who needs one"
    front = "the gateway and Prometheus to serving"
    back  = "the platform's servers"
    data  = "MLflow and Prefect to Postgres"
  }

  # what a service does not say
  usual = {
    command  = null
    env      = {}
    volumes  = {}
    readonly = false
    secrets  = false
    trust    = false
    config   = ""
    cpus     = 1
    signal   = "SIGTERM"
    ports    = []
    groups   = []
  }
  containers = { for name, said in local.services : name => merge(local.usual, said) if said.image != "" }
  volumes    = toset(flatten([for name, each in local.containers : keys(each.volumes)]))
}

resource "docker_network" "this" {
  for_each = local.networks

  name     = "tandem-${var.name}-${each.key}"
  driver   = "bridge"
  internal = each.key != "edge"
}

resource "docker_volume" "this" {
  for_each = local.volumes

  name = "tandem-${var.name}-${each.key}"
}

resource "docker_container" "this" {
  for_each = local.containers

  name    = "tandem-${var.name}-${each.key}"
  image   = each.value.image
  command = each.value.command
  env     = [for name, value in each.value.env : "${name}=${value}"]

  restart      = "unless-stopped"
  init         = true
  stop_signal  = each.value.signal
  stop_timeout = 15
  must_run     = true
  wait         = true
  wait_timeout = 180

  # without, the provider kills what it replaces or takes away
  destroy_grace_seconds = 15

  read_only     = true
  security_opts = ["no-new-privileges:true"]
  group_add     = each.value.groups
  memory        = each.value.memory
  memory_swap   = each.value.memory
  cpus          = format("%.1f", each.value.cpus)
  cgroup_parent = var.sizes.cgroup_parent == "" ? null : var.sizes.cgroup_parent
  tmpfs         = { "/tmp" = "rw,nosuid,nodev,size=256m,mode=1777" }
  log_driver    = "json-file"
  log_opts      = { max-size = "${var.sizes.log_mib}m", max-file = "3" }

  capabilities {
    drop = ["ALL"]
  }

  labels {
    label = "tandem.workspace"
    value = var.name
  }

  healthcheck {
    test         = concat(["CMD"], each.value.probe)
    interval     = "10s"
    timeout      = "5s"
    start_period = "1m0s"
    retries      = 3
  }

  dynamic "networks_advanced" {
    for_each = each.value.networks
    content {
      name    = docker_network.this[networks_advanced.value].name
      aliases = [each.key]
    }
  }

  dynamic "ports" {
    for_each = each.value.ports
    content {
      internal = ports.value.internal
      external = ports.value.external
      ip       = ports.value.ip
    }
  }

  dynamic "mounts" {
    for_each = each.value.volumes
    content {
      type      = "volume"
      source    = docker_volume.this[mounts.key].name
      target    = mounts.value
      read_only = each.value.readonly
    }
  }

  dynamic "mounts" {
    for_each = each.value.secrets == false ? [] : [each.value.secrets == true ? each.key : each.value.secrets]
    content {
      type      = "bind"
      source    = "${var.secrets}/${mounts.value}"
      target    = "/run/secrets"
      read_only = true
    }
  }

  dynamic "mounts" {
    for_each = each.value.config == "" ? [] : [each.value.config]
    content {
      type      = "bind"
      source    = abspath("${path.module}/../../../${mounts.value}")
      target    = "/etc/tandem"
      read_only = true
    }
  }

  dynamic "mounts" {
    for_each = each.value.trust ? ["trust"] : []
    content {
      type      = "bind"
      source    = "${var.secrets}/${mounts.value}"
      target    = "/run/trust"
      read_only = true
    }
  }
}
