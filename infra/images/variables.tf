variable "docker_host" {
  description = "The Docker engine's address."
  type        = string
  default     = "unix:///var/run/docker.sock"
  nullable    = false
}

variable "base" {
  description = "The image that all are made from."
  type        = string
  default     = "debian:bookworm-slim"
  nullable    = false
}

variable "revision" {
  description = "The commit that they are made of."
  type        = string
  nullable    = false
}

variable "servers" {
  description = "The last commit that changed what those are made of that hold none of the project's code."
  type        = string
  nullable    = false
}

variable "release" {
  description = "The version that they are of."
  type        = string
  nullable    = false
}

variable "content" {
  description = "Digest of all that goes into them: another one has them built anew."
  type        = string
  nullable    = false
}

variable "index" {
  description = "The index that packages are fetched from; none given: the usual one."
  type        = string
  default     = ""
  nullable    = false
}

variable "ca" {
  description = "File of the authorities that are trusted while building, where a network has its own; it stays in no image."
  type        = string
  default     = ""
  nullable    = false
}

variable "fresh" {
  description = "Whether all steps are done anew, whatever was built before."
  type        = bool
  default     = false
  nullable    = false
}
