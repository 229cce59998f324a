# What the module promises, planned without an engine: TF_WORKSPACE=dev terraform test
mock_provider "docker" {}

variables {
  name    = "dev"
  secrets = "/secrets"
  images = {
    serving  = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
    platform = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
    gateway  = "sha256:3333333333333333333333333333333333333333333333333333333333333333"
    postgres = "sha256:4444444444444444444444444444444444444444444444444444444444444444"
    watch    = "sha256:5555555555555555555555555555555555555555555555555555555555555555"
  }
  gateway  = { port = 8443, address = "127.0.0.1", names = ["localhost"], tls = "internal" }
  serving  = { replicas = 3, memory_mib = 384, cpus = 1, any_moment = false }
  platform = { params = "params.yaml", memory_mib = 4096, cpus = 2, reach_out = false }
  sizes    = { metrics = "7d", ledger_days = 7, snapshots = 144, log_mib = 10, cgroup_parent = "" }
  policy   = { first_publish = "champion", accept = "any" }
  schedule = { daily = "5 * * * *", ticks = "*/10 * * * *", ledger = "20 * * * *" }
  alerts   = { late_minutes = 120, gather = "10s" }
}

run "one_port_is_published_on_loopback" {
  command = plan
  module { source = "./modules/workspace" }

  assert {
    condition     = toset([for name, each in docker_container.this : name if length(each.ports) > 0]) == toset(["gateway"])
    error_message = "The gateway alone is published."
  }
  assert {
    condition     = [for each in docker_container.this["gateway"].ports : "${each.ip}:${each.external}"] == ["127.0.0.1:8443"]
    error_message = "It is published where it was asked for."
  }
}

run "every_container_is_hardened" {
  command = plan
  module { source = "./modules/workspace" }

  assert {
    condition = alltrue([
      for each in concat(values(docker_container.this), docker_container.serving) :
      each.read_only && each.memory > 0 && each.memory_swap == each.memory && each.restart == "unless-stopped"
      && contains(each.security_opts, "no-new-privileges:true") && anytrue([for of in each.capabilities : contains(of.drop, "ALL")])
    ])
    error_message = "A container lacks what hardens it."
  }
}

run "networks_lead_nowhere_but_edge" {
  command = plan
  module { source = "./modules/workspace" }

  assert {
    condition     = [for name, each in docker_network.this : name if !each.internal] == ["edge"]
    error_message = "Only edge leads out."
  }
  assert {
    condition     = length(docker_container.serving) == 3 && alltrue([for each in docker_container.serving : length(each.networks_advanced) == 1])
    error_message = "Replicas reach their clients and nobody else."
  }
}

run "whoever_may_reach_out_is_asked_for" {
  command = plan
  module { source = "./modules/workspace" }

  variables {
    platform = { params = "params.yaml", memory_mib = 4096, cpus = 2, reach_out = true }
  }
  assert {
    condition     = length(docker_container.this["worker"].networks_advanced) == 2
    error_message = "The worker is in edge too."
  }
}

run "a_wrong_name_is_refused" {
  command = plan
  variables {
    name = "Dev!"
  }
  expect_failures = [var.name]
}

run "an_image_without_a_digest_is_refused" {
  command = plan
  variables {
    images = { serving = "tandem:latest", platform = "x", gateway = "x", postgres = "x", watch = "x" }
  }
  expect_failures = [var.images]
}

run "a_relative_folder_of_secrets_is_refused" {
  command = plan
  variables {
    secrets = "secrets"
  }
  expect_failures = [var.secrets]
}

run "a_port_that_root_has_is_refused" {
  command = plan
  variables {
    gateway = { port = 80, address = "127.0.0.1", names = ["localhost"], tls = "internal" }
  }
  expect_failures = [var.gateway]
}

run "no_replica_is_refused" {
  command = plan
  variables {
    serving = { replicas = 0 }
  }
  expect_failures = [var.serving]
}

run "settings_that_nothing_could_run_by_are_refused" {
  command = plan
  variables {
    gateway  = { port = 8443, names = [] }
    serving  = { memory_mib = 4 }
    platform = { params = "nix.yaml", memory_mib = 1 }
    sizes    = { metrics = "7 days", log_mib = 0 }
    schedule = { daily = "nonsense" }
    alerts   = { late_minutes = -5 }
    grafana  = { memory_mib = 1 }
  }
  expect_failures = [var.gateway, var.serving, var.platform, var.sizes, var.schedule, var.alerts, var.grafana]
}

run "an_hour_that_no_day_has_is_refused" {
  command = plan
  variables {
    schedule = { daily = "5 24 * * *" }
  }
  expect_failures = [var.schedule]
}

run "any_time_of_cron_is_taken" {
  command = plan
  variables {
    schedule = { daily = "*/90 0-23/2,5 1,31 12 MON-FRI", ticks = "59 23 * JAN 0" }
  }
}

run "a_step_of_nothing_is_refused" {
  command = plan
  variables {
    schedule = { daily = "*/0 * * * *" }
  }
  expect_failures = [var.schedule]
}

run "a_day_of_no_name_is_refused" {
  command = plan
  variables {
    schedule = { ticks = "5 * * * FOO" }
  }
  expect_failures = [var.schedule]
}

run "tls_of_no_kind_is_refused" {
  command = plan
  variables {
    gateway = { port = 8443, tls = "interal" }
  }
  expect_failures = [var.gateway]
}

run "a_certificate_that_is_not_there_is_refused" {
  command = plan
  variables {
    gateway = { port = 8443, tls = "/run/secrets/cert.pem /run/secrets/key.pem" }
  }
  expect_failures = [output.address]
}

run "a_name_of_two_words_is_refused" {
  command = plan
  variables {
    gateway = { port = 8443, names = ["a b"] }
  }
  expect_failures = [var.gateway]
}

run "a_policy_of_another_kind_is_refused" {
  command = plan
  variables {
    policy = { first_publish = "shadow", accept = "any" }
  }
  expect_failures = [var.policy]
}

run "the_variables_of_another_workspace_are_refused" {
  command = plan
  variables {
    name = "prod"
  }
  expect_failures = [output.address]
}
