name    = "dev"
gateway = { port = 8443 }
serving = { replicas = 1, any_moment = true }
policy  = { first_publish = "champion", accept = "any" }
sizes   = { metrics = "7d" }
