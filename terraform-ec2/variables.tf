variable "region" {
  description = "Where the machine is."
  type        = string
  default     = "eu-central-1"
}

variable "name" {
  description = "The name of everything that is made here."
  type        = string
  default     = "microblog"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,31}$", var.name))
    error_message = "Small letters, digits and hyphens, 32 at most, a letter first."
  }
}

variable "tags" {
  description = "Tags of everything that is made here."
  type        = map(string)
  default     = {}
}

# ---- The machine

variable "instance_type" {
  description = "x86_64 or arm64, whatever the images are built for. Microblog at rest takes about 2 GiB, k3s another one."
  type        = string
  default     = "t3.large"
}

variable "disk_size" {
  description = "GiB of the encrypted disk that the machine starts from. It goes with the machine."
  type        = number
  default     = 12

  validation {
    condition     = var.disk_size >= 8
    error_message = "The system and its logs need 8 GiB at least."
  }
}

variable "data_disk_size" {
  description = "GiB of the encrypted disk with images, what k3s knows, and the bundled database. It stays when the machine is replaced."
  type        = number
  default     = 40

  validation {
    condition     = var.data_disk_size >= 30
    error_message = "Images and the database's 20 GiB need 30 GiB at least."
  }
}

variable "kms_key_id" {
  description = "The key that encrypts the disks. null: the account's default key for EBS."
  type        = string
  default     = null
}

# ---- The network

variable "subnet_id" {
  description = "A public subnet that is there, as one of the default VPC. null: a VPC with one public subnet is made."
  type        = string
  default     = null
}

variable "availability_zone" {
  description = "The zone of the subnet that is made, as in eu-central-1a. null: the first that has machines of instance_type."
  type        = string
  default     = null
}

variable "vpc_cidr" {
  description = "The addresses of the VPC that is made."
  type        = string
  default     = "10.20.0.0/24"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr))
    error_message = "A range of addresses, as in 10.20.0.0/24."
  }
}

variable "allowed_cidrs" {
  description = <<-EOT
    Who may use the API over HTTP (and HTTPS, where a certificate is configured). Nobody by default: the outputs tell how to get in by
    Session Manager, which needs no open port.
  EOT
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : can(cidrnetmask(cidr))])
    error_message = "Ranges of IPv4 addresses, as in 203.0.113.7/32."
  }
}

variable "egress_ports" {
  description = "Ports that the machine may reach: 443 for packages, images and Session Manager. Add that of a database elsewhere."
  type        = list(number)
  default     = [443]
}

# ---- Microblog

variable "chart" {
  description = <<-EOT
    Where the chart is: in a registry (oci://…), an archive (https://….tgz), or a Git repository (https://….git), which has it in
    helm/microblog. `make publish` puts one, with the images that it names, into a registry of yours.
  EOT
  type        = string

  validation {
    condition     = can(regex("^(oci://[A-Za-z0-9._/:@-]+|https://[A-Za-z0-9._/:@%+~-]+\\.(tgz|git))$", var.chart))
    error_message = "An address that begins with oci://, or with https:// and ends with .tgz or .git."
  }
}

variable "chart_version" {
  description = "The version of a chart in a registry, or the tag or branch of a Git repository. An archive has none."
  type        = string
  default     = "0.1.0"

  validation {
    condition     = can(regex("^[A-Za-z0-9._/+-]*$", var.chart_version))
    error_message = "A version, a tag or a branch."
  }
}

variable "command_host" {
  description = "The host name of the API for writing."
  type        = string
  default     = "command.microblog.local"
}

variable "query_host" {
  description = "The host name of the API for reading."
  type        = string
  default     = "query.microblog.local"
}

variable "values" {
  description = <<-EOT
    Further values of the chart, as YAML. They are part of the user data, which everybody who may describe the instance can read: secrets
    belong into Secrets that the values name.
  EOT
  type        = string
  default     = ""
}

# ---- What is installed on it, pinned. A checksum is that of the release; another version needs others.

variable "k3s" {
  description = "The release of k3s, and the SHA-256 of its program for each architecture, as the release's sha256sum-*.txt have it."
  type        = object({ version = string, x86_64 = string, arm64 = string })
  default = {
    version = "v1.35.8+k3s1"
    x86_64  = "12f81c9bb5b71e098a4f7a2d187e350902a9339a6c3d5e56c20a03f7a417e07f"
    arm64   = "898476e008704289382377ef19946f23b511cf2678042cb5c8aef991e64f840a"
  }

  validation {
    condition     = can(regex("^v[0-9.]+\\+k3s[0-9]+$", var.k3s.version))
    error_message = "A release of k3s, as in v1.35.8+k3s1."
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
