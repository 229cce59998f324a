# What runs in a workspace beside serving: each a container, and what it needs beyond what all have (main.tf).
locals {
  address = "https://${var.gateway.names[0]}:${var.gateway.port}"
  python = {
    TANDEM_TRACKING_URI   = "http://mlflow:5000/mlflow"
    TANDEM_FIRST_PUBLISH  = var.policy.first_publish
    TANDEM_ACCEPT         = var.policy.accept
    TANDEM_TRUST          = "/run/trust"
    TANDEM_LEDGER_KEPT    = tostring(var.sizes.ledger_days)
    TANDEM_SNAPSHOTS_KEPT = tostring(var.sizes.snapshots)
    DVC_SITE_CACHE_DIR    = "/tmp/dvc"
    OMP_WAIT_POLICY       = "passive"
    PARAMS                = var.platform.params
  }
  quiet = {
    MLFLOW_DISABLE_TELEMETRY         = "true"
    PREFECT_SERVER_ANALYTICS_ENABLED = "false"
    PREFECT_HOME                     = "/tmp/prefect"
  }
  folder = {
    work    = "/srv/tandem"
    var     = "/srv/tandem/var"
    serving = "/srv/tandem/var/serving"
    ledger  = "/srv/tandem/var/ledger"
  }

  services = {
    postgres = {
      image    = var.images.postgres
      command  = ["keep"]
      networks = ["data"]
      volumes  = { postgres = "/srv/postgres" }
      secrets  = true
      memory   = 384
      probe    = ["pg_isready", "--quiet", "--host", "/tmp"]
      signal   = "SIGINT" # an orderly end at once; SIGTERM would wait for every client
    }

    mlflow = {
      image = var.images.platform
      command = [
        "await", "postgres:5432", "mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1",
        "--backend-store-uri", "postgresql://mlflow@postgres/mlflow",
        "--serve-artifacts", "--artifacts-destination", "/srv/artifacts",
        "--static-prefix", "/mlflow", "--allowed-hosts", "mlflow:5000,localhost", "--expose-prometheus", "/tmp/metrics",
      ]
      env      = merge(local.quiet, { PGPASSFILE = "/run/secrets/pgpass", MLFLOW_SERVER_ENABLE_JOB_EXECUTION = "false" })
      networks = ["data", "back"]
      volumes  = { artifacts = "/srv/artifacts" }
      secrets  = true
      memory   = 1024
      probe    = ["probe", "5000", "/mlflow/health"]
    }

    prefect = {
      image   = var.images.platform
      command = ["await", "postgres:5432", "prefect", "server", "start", "--host", "0.0.0.0", "--port", "4200"]
      env = merge(local.quiet, {
        PREFECT_SERVER_DATABASE_CONNECTION_URL = "postgresql+asyncpg://prefect@postgres/prefect?passfile=/run/secrets/pgpass"
        PREFECT_SERVER_API_BASE_PATH           = "/prefect/api"
        PREFECT_UI_SERVE_BASE                  = "/prefect"
        PREFECT_UI_API_URL                     = "/prefect/api"
        PREFECT_UI_STATIC_DIRECTORY            = "/tmp/ui"
        PREFECT_SERVER_UI_V2_ENABLED           = "false"
        PREFECT_SERVER_METRICS_ENABLED         = "true"
        # a few schedules need no look each five seconds, which is a quarter of what it takes at rest
        PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS                    = "60"
        PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS            = "60"
        PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS           = "60"
        PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS = "30"
      })
      networks = ["data", "back"]
      secrets  = true
      memory   = 512
      probe    = ["probe", "4200", "/prefect/api/health"]
    }

    worker = {
      image    = var.images.platform
      command  = ["here", "work"]
      env      = merge(local.python, local.quiet, { PREFECT_API_URL = "http://prefect:4200/prefect/api", WAKE = jsonencode(var.schedule) })
      networks = var.platform.reach_out ? ["back", "edge"] : ["back"]
      volumes  = local.folder
      secrets  = "platform"
      trust    = true
      memory   = var.platform.memory_mib
      cpus     = var.platform.cpus
      probe    = ["probe", "8080", "/health"]
    }

    platform = {
      image    = var.images.platform
      command  = ["here", "await", "mlflow:5000", "tandem", "sync", "--watch"]
      env      = merge(local.python, local.quiet)
      networks = ["back"]
      volumes  = local.folder
      secrets  = true
      trust    = true
      memory   = 1536 # a bundle is rehearsed below it
      probe    = ["find", "/srv/tandem/var/serving/sync.json", "-mmin", "-3"]
    }

    gateway = {
      image   = var.images.gateway
      command = ["gate"]
      env = {
        SITES = join(", ", [for name in var.gateway.names : "https://${name}:8443"])
        NAME  = var.gateway.names[0] # whose certificate is shown to who names nobody
        TLS   = var.gateway.tls
      }
      networks = ["edge", "front", "back"]
      volumes  = { gateway = "/srv/gateway" }
      secrets  = true
      memory   = 128
      probe    = ["probe", "9180", "/healthz"]
      ports    = [{ internal = 8443, external = var.gateway.port, ip = var.gateway.address }]
    }

    prometheus = {
      image   = var.images.watch
      command = ["watch"]
      env = {
        WORKSPACE    = var.name
        ADDRESS      = local.address
        RETENTION    = var.sizes.metrics
        REPLICAS     = tostring(var.serving.replicas)
        LATE_MINUTES = tostring(var.alerts.late_minutes)
      }
      networks = ["front", "back"]
      volumes  = { prometheus = "/srv/prometheus" }
      secrets  = true
      memory   = 256
      probe    = ["probe", "9090", "/prometheus/-/healthy"]
    }

    alertmanager = {
      image   = var.images.watch
      command = ["alert"]
      env = merge({ ADDRESS = local.address, GROUP_WAIT = var.alerts.gather }, length(var.alerts.mail.to) == 0 ? {} : {
        MAIL_TO   = join(", ", var.alerts.mail.to)
        MAIL_FROM = var.alerts.mail.from
        SMTP      = var.alerts.mail.smtp
        SMTP_USER = var.alerts.mail.user
        SMTP_TLS  = tostring(var.alerts.mail.tls)
      })
      networks = ["back", "edge"] # whoever is told is outside
      volumes  = { alertmanager = "/srv/alertmanager" }
      secrets  = true
      memory   = 96
      probe    = ["probe", "9093", "/alertmanager/-/healthy"]
    }

    machine = {
      image = var.images.watch
      # a container's /proc tells of the machine's processors and memory; so nothing of the machine is mounted
      command  = ["prometheus-node-exporter", "--collector.textfile.directory", "/srv/tandem/var/told"]
      networks = ["back"]
      volumes  = { var = "/srv/tandem/var" }
      readonly = true
      groups   = ["220"] # whose files it reads
      memory   = 64
      probe    = ["probe", "9100", "/"]
    }

    grafana = {
      image = var.grafana.image
      env = {
        GF_SERVER_ROOT_URL                        = "${local.address}/grafana/"
        GF_SERVER_SERVE_FROM_SUB_PATH             = "true"
        GF_PATHS_PROVISIONING                     = "/etc/tandem"
        GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH = "/etc/tandem/boards/serving.json"
        # who somebody is the gateway says, and nobody else is in this network
        GF_AUTH_PROXY_ENABLED                      = "true"
        GF_AUTH_PROXY_HEADER_NAME                  = "X-Webauth-User"
        GF_AUTH_PROXY_HEADERS                      = "Role:X-Webauth-Role"
        GF_AUTH_BASIC_ENABLED                      = "false"
        GF_AUTH_DISABLE_LOGIN_FORM                 = "true"
        GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION = "true"
        GF_ANALYTICS_REPORTING_ENABLED             = "false"
        GF_ANALYTICS_CHECK_FOR_UPDATES             = "false"
        GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES      = "false"
        GF_PLUGINS_PREINSTALL_DISABLED             = "true"
        GF_NEWS_NEWS_FEED_ENABLED                  = "false"
      }
      networks = ["back"]
      volumes  = { grafana = "/var/lib/grafana" }
      config   = "grafana"
      memory   = var.grafana.memory_mib
      probe    = ["wget", "--quiet", "--output-document", "/dev/null", "http://localhost:3000/api/health"]
    }
  }
}
