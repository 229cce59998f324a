# Prod's, for a while: what was backed up is brought back here, looked at, and taken down.
name    = "rehearsal"
gateway = { port = 10443 }
serving = { replicas = 2 }
policy  = { first_publish = "nothing", accept = "attested" }
sizes   = { metrics = "30d", ledger_days = 30 }
