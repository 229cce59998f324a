//go:build tools

// Package provider names Terraform's provider for Docker, which declares another path than it is published under.
package provider

import _ "github.com/terraform-providers/terraform-provider-docker"
