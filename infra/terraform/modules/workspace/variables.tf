variable "name" {
  description = "The workspace's name, in front of every name that it has on the engine."
  type        = string
  nullable    = false
}

variable "images" {
  description = "Images by digest, as `make images` locked them."
  type = object({
    serving  = string
    platform = string
    gateway  = string
    postgres = string
    watch    = string
  })
  nullable = false
}

variable "secrets" {
  description = "Folder on the engine's machine in which `make up` keeps the workspace's secrets."
  type        = string
  nullable    = false
}

variable "gateway" {
  description = "The one published port, the address that it is bound to, and the names that it answers to."
  type = object({
    port    = number
    address = string
    names   = list(string)
    tls     = string
  })
  nullable = false
}

variable "serving" {
  description = "How many replicas answer, and with what."
  type = object({
    replicas   = number
    memory_mib = number
    cpus       = number
    any_moment = bool
  })
  nullable = false
}

variable "platform" {
  description = "What is trained: the params, by file; what a run may take; whether it may reach the world, to fetch what is pinned."
  type = object({
    params     = string
    memory_mib = number
    cpus       = number
    reach_out  = bool
  })
  nullable = false
}

variable "sizes" {
  description = "How long things are kept, and the engine's group for all processes of the workspace, if one is set up."
  type = object({
    metrics       = string
    ledger_days   = number
    snapshots     = number
    log_mib       = number
    cgroup_parent = string
  })
  nullable = false
}

variable "policy" {
  description = "What the first publish becomes, and which bundles may answer."
  type = object({
    first_publish = string
    accept        = string
  })
  nullable = false
}

variable "schedule" {
  description = "When the worker is woken, as cron says it; a flow then does all that is due."
  type = object({
    daily  = string
    ticks  = string
    ledger = string
  })
  nullable = false
}

variable "alerts" {
  description = "After how many minutes without a run somebody is told, how long alerts are gathered, and who is told by mail."
  type = object({
    late_minutes = number
    gather       = string
    mail = optional(object({
      to   = list(string)
      from = string
      smtp = string
      user = string
      tls  = bool
    }), { to = [], from = "", smtp = "", user = "", tls = true })
  })
  nullable = false
}

variable "grafana" {
  description = "Grafana's image by digest, none if empty, and its memory."
  type = object({
    image      = string
    memory_mib = number
  })
  default  = { image = "", memory_mib = 256 }
  nullable = false
}
