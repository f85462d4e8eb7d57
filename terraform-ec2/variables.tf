variable "region" {
  description = "The AWS region."
  type        = string
  default     = "eu-central-1"
}

variable "name" {
  description = "The name of everything that this configuration creates."
  type        = string
  default     = "microblog"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,31}$", var.name))
    error_message = "Use lowercase letters, digits and hyphens, at most 32, and begin with a letter."
  }
}

variable "tags" {
  description = "Tags of everything that this configuration creates."
  type        = map(string)
  default     = {}
}

# ---- The machine

variable "instance_type" {
  description = "An x86_64 or arm64 type, as the images are built. Idle, Microblog takes about 2 GiB and k3s 1 GiB."
  type        = string
  default     = "t3.large"
}

variable "disk_size" {
  description = "GiB of the encrypted system disk. It is deleted with the machine."
  type        = number
  default     = 12

  validation {
    condition     = var.disk_size >= 8
    error_message = "The system and its logs need at least 8 GiB."
  }
}

variable "data_disk_size" {
  description = "GiB of the encrypted data disk: images, the data of k3s, and the bundled database. It stays when the machine is replaced."
  type        = number
  default     = 40

  validation {
    condition     = var.data_disk_size >= 30
    error_message = "The images and the database's 20 GiB need at least 30 GiB."
  }
}

variable "kms_key_id" {
  description = "The key that encrypts the disks. null: the account's default key for EBS."
  type        = string
  default     = null
}

# ---- The network

variable "subnet_id" {
  description = "An existing public subnet, for example one of the default VPC. null: create a VPC with one public subnet."
  type        = string
  default     = null
}

variable "availability_zone" {
  description = "The zone of the new subnet, for example eu-central-1a. null: the first zone that offers instance_type."
  type        = string
  default     = null
}

variable "vpc_cidr" {
  description = "The addresses of the new VPC."
  type        = string
  default     = "10.20.0.0/24"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr))
    error_message = "Use a range of addresses, for example 10.20.0.0/24."
  }
}

variable "allowed_cidrs" {
  description = <<-EOT
    Who may use the API over HTTP (and HTTPS, if a certificate is configured). By default, nobody: the outputs show how to connect by
    Session Manager, which needs no open port.
  EOT
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : can(cidrnetmask(cidr))])
    error_message = "Use ranges of IPv4 addresses, for example 203.0.113.7/32."
  }
}

variable "egress_ports" {
  description = "Ports that the machine may connect to: 443 for packages, images and Session Manager. Add the port of a database elsewhere."
  type        = list(number)
  default     = [443]
}

# ---- Microblog

variable "chart" {
  description = <<-EOT
    The chart: in a registry (oci://…), an archive (https://….tgz), or a Git repository (https://….git) that has it in helm/microblog.
    `make publish` puts a chart, and the images that it names, into your registry.
  EOT
  type        = string

  validation {
    condition     = can(regex("^(oci://[A-Za-z0-9._/:@-]+|https://[A-Za-z0-9._/:@%+~-]+\\.(tgz|git))$", var.chart))
    error_message = "Use an address that begins with oci://, or that begins with https:// and ends with .tgz or .git."
  }
}

variable "chart_version" {
  description = "The version of a chart in a registry, or the tag or branch of a Git repository. An archive needs none."
  type        = string
  default     = "0.1.0"

  validation {
    condition     = can(regex("^[A-Za-z0-9._/+-]*$", var.chart_version))
    error_message = "Use a version, a tag or a branch."
  }
}

variable "host" {
  description = "The host name, which leads to the gateway."
  type        = string
  default     = "microblog.local"
}

variable "values" {
  description = <<-EOT
    Further values of the chart, as YAML. They are part of the user data, and everybody who may describe the instance can read them. Put
    secrets into Secrets that the values name.
  EOT
  type        = string
  default     = ""
}

# ---- The installed software, pinned by version and checksum. Another version needs other checksums.

variable "k3s" {
  description = "The release of k3s, and the SHA-256 of its program for each architecture, from the release's sha256sum-*.txt."
  type        = object({ version = string, x86_64 = string, arm64 = string })
  default = {
    version = "v1.35.8+k3s1"
    x86_64  = "12f81c9bb5b71e098a4f7a2d187e350902a9339a6c3d5e56c20a03f7a417e07f"
    arm64   = "898476e008704289382377ef19946f23b511cf2678042cb5c8aef991e64f840a"
  }

  validation {
    condition     = can(regex("^v[0-9.]+\\+k3s[0-9]+$", var.k3s.version))
    error_message = "Use a release of k3s, for example v1.35.8+k3s1."
  }
  validation {
    condition     = alltrue([for sum in [var.k3s.x86_64, var.k3s.arm64] : can(regex("^[0-9a-f]{64}$", sum))])
    error_message = "A SHA-256 has 64 hexadecimal digits."
  }
}

variable "helm" {
  description = "The release of Helm, and the SHA-256 of its archive for each architecture."
  type        = object({ version = string, x86_64 = string, arm64 = string })
  default = {
    version = "v3.21.3"
    x86_64  = "15e041a93a590dce8100f39385cd98c84a765c9e36aeeb9e2dc6ff9e4769e2e0"
    arm64   = "67f58155079ff9ffab98ba5c88daff0ed9b542f3a4732f5dd426dde7dd0f5244"
  }

  validation {
    condition     = can(regex("^v[0-9.]+$", var.helm.version))
    error_message = "A release of Helm, as in v3.21.3."
  }
  validation {
    condition     = alltrue([for sum in [var.helm.x86_64, var.helm.arm64] : can(regex("^[0-9a-f]{64}$", sum))])
    error_message = "A SHA-256 has 64 hexadecimal digits."
  }
}
