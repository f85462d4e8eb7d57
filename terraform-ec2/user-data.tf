# The user data of the first start. This file needs no provider, so `check` can test it anywhere.

locals {
  # The chart's example for one EC2 instance, the host, and var.values.
  values = [
    file("${path.module}/../helm/microblog/ci/ec2-values.yaml"),
    yamlencode({ ingress = { host = var.host } }),
    var.values,
  ]

  settings = {
    K3S_VERSION   = var.k3s.version
    K3S_SHA256    = local.architecture == "arm64" ? var.k3s.arm64 : var.k3s.x86_64
    HELM_VERSION  = var.helm.version
    HELM_SHA256   = local.architecture == "arm64" ? var.helm.arm64 : var.helm.x86_64
    CHART         = var.chart
    CHART_VERSION = var.chart_version
    DATA_VOLUME   = local.data_volume
  }

  user_data = templatefile("${path.module}/user-data.yaml.tftpl", {
    settings = local.settings
    values   = local.values
    install  = file("${path.module}/install.sh")
  })
}
