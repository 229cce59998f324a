name    = "prod"
gateway = { port = 9443 }
serving = { replicas = 2 }
policy  = { first_publish = "nothing", accept = "attested" }
sizes   = { metrics = "30d", ledger_days = 30 }
