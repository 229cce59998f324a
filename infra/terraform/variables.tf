variable "docker_host" {
  description = "The Docker engine's address."
  type        = string
  default     = "unix:///var/run/docker.sock"
  nullable    = false
}

variable "name" {
  description = "The workspace's name, in front of every name that it has on the engine."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,15}$", var.name))
    error_message = "A name is 2 to 16 small letters and digits."
  }
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

  validation {
    condition     = alltrue([for image in values(var.images) : can(regex("(^|@)sha256:[0-9a-f]{64}$", image))])
    error_message = "Every image is named by its digest: `make images` writes them down."
  }
}

variable "secrets" {
  description = "Folder on the engine's machine in which `make up` keeps the workspace's secrets."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.secrets, "/")
    error_message = "The folder is named by its whole path."
  }
}

variable "gateway" {
  description = "The one published port, the address that it is bound to, and the names that it answers to."
  type = object({
    port    = number
    address = optional(string, "127.0.0.1")
    names   = optional(list(string), ["localhost", "127.0.0.1"])
    tls     = optional(string, "internal")
  })
  nullable = false

  validation {
    condition     = var.gateway.port == 443 || (var.gateway.port > 1023 && var.gateway.port < 65536)
    error_message = "The port is 443 or between 1024 and 65535."
  }

  validation {
    condition     = length(var.gateway.names) > 0 && alltrue([for name in var.gateway.names : can(regex("^[A-Za-z0-9*:._-]+$", name))])
    error_message = "The gateway answers to one name at least, of a host or an address."
  }

  validation {
    condition     = var.gateway.tls == "internal" || can(regex("^([^@/ ]+@[^@/ ]+|/run/secrets/[^/ ]+ /run/secrets/[^/ ]+)$", var.gateway.tls))
    error_message = "TLS is internal, an e-mail address for ACME, or a certificate and its key as /run/secrets/FILE /run/secrets/FILE."
  }
}

variable "serving" {
  description = "How many replicas answer, and with what."
  type = object({
    replicas   = optional(number, 2)
    memory_mib = optional(number, 384)
    cpus       = optional(number, 1)
    any_moment = optional(bool, false)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.serving.replicas >= 1 && var.serving.replicas <= 16
    error_message = "There are 1 to 16 replicas."
  }

  validation {
    condition     = var.serving.memory_mib >= 128 && var.serving.cpus > 0
    error_message = "A replica takes 128 MiB or more, and some of a processor."
  }
}

variable "platform" {
  description = "What is trained: the params, by file; what a run may take; whether it may reach the world, to fetch what is pinned."
  type = object({
    params     = optional(string, "params.yaml")
    memory_mib = optional(number, 4096)
    cpus       = optional(number, 2)
    reach_out  = optional(bool, false)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["params.yaml", "params.fast.yaml"], var.platform.params)
    error_message = "The images hold params.yaml and params.fast.yaml."
  }

  validation {
    condition     = var.platform.memory_mib >= 1024 && var.platform.cpus > 0
    error_message = "A run takes 1024 MiB or more, and some of a processor."
  }
}

variable "sizes" {
  description = "How long things are kept, and the engine's group for all processes of the workspace, if one is set up."
  type = object({
    metrics       = optional(string, "15d")
    ledger_days   = optional(number, 7)
    snapshots     = optional(number, 144)
    log_mib       = optional(number, 10)
    cgroup_parent = optional(string, "")
  })
  default  = {}
  nullable = false

  validation {
    condition     = can(regex("^[0-9]+(ms|[smhdwy])$", var.sizes.metrics))
    error_message = "Metrics are kept for a number of s, m, h, d, w or y, as 15d."
  }

  validation {
    condition     = var.sizes.ledger_days >= 1 && var.sizes.snapshots >= 1 && var.sizes.log_mib >= 1
    error_message = "A day, a snapshot and a MiB of log are the least."
  }
}

variable "policy" {
  description = "What the first publish becomes, and which bundles may answer."
  type = object({
    first_publish = string
    accept        = string
  })
  nullable = false

  validation {
    condition     = contains(["champion", "nothing"], var.policy.first_publish) && contains(["any", "attested"], var.policy.accept)
    error_message = "The first publish becomes champion or nothing; any bundle is accepted, or attested ones."
  }
}

locals {
  day_or_month = "(JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|MON|TUE|WED|THU|FRI|SAT|SUN)"
  times        = "(\\*|[0-9]{1,2}(-[0-9]{1,2})?|${local.day_or_month}(-${local.day_or_month})?)(/[1-9][0-9]?)?"
}

variable "schedule" {
  description = "When the worker is woken, as cron says it; a flow then does all that is due."
  type = object({
    daily  = optional(string, "5 * * * *")
    ticks  = optional(string, "*/10 * * * *")
    ledger = optional(string, "20 * * * *")
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for cron in values(var.schedule) : can(regex("^(${local.times},)*${local.times}( (${local.times},)*${local.times}){4}$", cron))])
    error_message = "A schedule has the five fields of cron, each of numbers, names, ranges and steps."
  }

  validation {
    condition = try(alltrue(flatten([
      for cron in values(var.schedule) : [
        for place, field in split(" ", cron) : [
          for number in regexall("[0-9]+", replace(field, "/\\/[0-9]+/", "")) :
          tonumber(number) >= [0, 0, 1, 1, 0][place] && tonumber(number) <= [59, 23, 31, 12, 7][place]
        ]
      ]
    ])), false)
    error_message = "A schedule's minutes go to 59, its hours to 23, its days of the month from 1 to 31, its months from 1 to 12, its days of the week to 7."
  }
}

variable "alerts" {
  description = "After how many minutes without a run somebody is told, how long alerts are gathered, and who is told by mail, through which host:port and as whom; the password is the secret alertmanager/smtp."
  type = object({
    late_minutes = optional(number, 120)
    gather       = optional(string, "10s")
    mail = optional(object({
      to   = optional(list(string), [])
      from = optional(string, "")
      smtp = optional(string, "")
      user = optional(string, "")
      tls  = optional(bool, true)
    }), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = length(var.alerts.mail.to) == 0 || (var.alerts.mail.from != "" && can(regex("^[^:]+:[0-9]+$", var.alerts.mail.smtp)))
    error_message = "Mail is from somebody, and goes through a host:port."
  }

  validation {
    condition     = var.alerts.late_minutes > 0 && can(regex("^[0-9]+(ms|[smh])$", var.alerts.gather))
    error_message = "Minutes are more than none, and alerts are gathered for a number of s, m or h."
  }
}

variable "grafana" {
  description = "Grafana's image by digest, none if empty, and its memory."
  type = object({
    image      = optional(string, "")
    memory_mib = optional(number, 256)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.grafana.image == "" || can(regex("(^|@)sha256:[0-9a-f]{64}$", var.grafana.image))
    error_message = "An image is named by its digest."
  }

  validation {
    condition     = var.grafana.memory_mib >= 128
    error_message = "Grafana takes 128 MiB or more."
  }
}
