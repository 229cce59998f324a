terraform {
  required_version = ">= 1.9, < 2.0"

  required_providers {
    docker = {
      source  = "kreuzwerker/docker"
      version = "4.5.0" # nothing but a version pins it: a provider that was built here has another digest
    }
  }

  # a file by default; docs/operations.md shows S3's and Postgres'
  backend "local" {}
}
