# One EC2 instance with k3s, which installs Microblog by its chart. README.md says how to use it.

locals {
  architecture = contains(data.aws_ec2_instance_type.chosen.supported_architectures, "arm64") ? "arm64" : "x86_64"
  own_network  = var.subnet_id == null
  subnet_id    = local.own_network ? aws_subnet.public[0].id : var.subnet_id
  vpc_id       = local.own_network ? aws_vpc.own[0].id : data.aws_subnet.given[0].vpc_id
  zone         = local.own_network ? aws_subnet.public[0].availability_zone : data.aws_subnet.given[0].availability_zone
  data_volume  = aws_ebs_volume.data.id
}

# ---- The network: one public subnet, and no open port that nobody asked for

data "aws_subnet" "given" {
  count = local.own_network ? 0 : 1
  id    = var.subnet_id
}

resource "aws_vpc" "own" {
  #checkov:skip=CKV2_AWS_11: One machine, which logs its requests itself. Flow logs are useful if more runs in this network.
  count                = local.own_network ? 1 : 0
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# Every VPC has it, and a resource without a group is in it. It lets nothing through.
resource "aws_default_security_group" "nothing" {
  count  = local.own_network ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  tags   = { Name = "${var.name}-default" }
}

resource "aws_internet_gateway" "own" {
  count  = local.own_network ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  tags   = { Name = var.name }
}

# Not every zone offers every type of machine. Without a named zone, AWS would take any.
data "aws_ec2_instance_type_offerings" "zones" {
  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = [var.instance_type]
  }
}

resource "aws_subnet" "public" {
  count             = local.own_network ? 1 : 0
  vpc_id            = aws_vpc.own[0].id
  cidr_block        = var.vpc_cidr
  availability_zone = coalesce(var.availability_zone, sort(data.aws_ec2_instance_type_offerings.zones.locations)[0])
  # The machine has an Elastic IP address.
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-public" }

  lifecycle {
    # The data are in the first zone. New zones are no reason to leave it.
    ignore_changes = [availability_zone]
  }
}

resource "aws_route_table" "public" {
  count  = local.own_network ? 1 : 0
  vpc_id = aws_vpc.own[0].id
  tags   = { Name = "${var.name}-public" }

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.own[0].id
  }
}

resource "aws_route_table_association" "public" {
  count          = local.own_network ? 1 : 0
  subnet_id      = aws_subnet.public[0].id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_security_group" "machine" {
  name        = var.name
  description = "Microblog: HTTP and HTTPS from who may, no SSH"
  vpc_id      = local.vpc_id
  tags        = { Name = var.name }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "api" {
  for_each = { for pair in setproduct(var.allowed_cidrs, [80, 443]) : "${pair[0]} ${pair[1]}" => { cidr = pair[0], port = pair[1] } }

  security_group_id = aws_security_group.machine.id
  description       = "The API from ${each.value.cidr}"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "elsewhere" {
  for_each = toset([for port in var.egress_ports : tostring(port)])

  security_group_id = aws_security_group.machine.id
  description       = "Port ${each.value} elsewhere"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = tonumber(each.value)
  to_port           = tonumber(each.value)
}

# The interface has its public address before the machine starts, because the downloads of the first start need one.
resource "aws_network_interface" "machine" {
  subnet_id       = local.subnet_id
  security_groups = [aws_security_group.machine.id]
  tags            = { Name = var.name }
}

resource "aws_eip" "machine" {
  domain            = "vpc"
  network_interface = aws_network_interface.machine.id
  tags              = { Name = var.name }

  # The gateway must exist first.
  depends_on = [aws_route_table_association.public]
}

# ---- The machine's role: Session Manager may open a session on it, and nothing else

data "aws_iam_policy_document" "is_ec2" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "machine" {
  name_prefix        = "${var.name}-"
  description        = "The machine of Microblog"
  assume_role_policy = data.aws_iam_policy_document.is_ec2.json
}

resource "aws_iam_role_policy_attachment" "session_manager" {
  role       = aws_iam_role.machine.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "machine" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.machine.name
}

# ---- The data of k3s and every volume of its pods, on a disk that stays when the machine is replaced

resource "aws_ebs_volume" "data" {
  #checkov:skip=CKV2_AWS_9: Whoever runs it decides how often to make copies and how long to keep them. README.md says how to make one.
  availability_zone = local.zone
  encrypted         = true
  kms_key_id        = var.kms_key_id
  type              = "gp3"
  size              = var.data_disk_size
  tags              = { Name = "${var.name}-data" }
}

resource "aws_volume_attachment" "data" {
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data.id
  instance_id = aws_instance.machine.id
  # The machine stops before the disk is detached, so nothing writes to it.
  stop_instance_before_detaching = true
}

# ---- The machine

data "aws_ec2_instance_type" "chosen" {
  instance_type = var.instance_type
}

# Amazon Linux 2023 contains Session Manager's agent.
data "aws_ssm_parameter" "image" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${local.architecture}"
}

resource "aws_instance" "machine" {
  ami                  = data.aws_ssm_parameter.image.insecure_value
  instance_type        = var.instance_type
  iam_instance_profile = aws_iam_instance_profile.machine.name
  ebs_optimized        = true
  monitoring           = true
  tags                 = { Name = var.name }
  user_data_base64     = base64gzip(local.user_data)

  primary_network_interface {
    network_interface_id = aws_network_interface.machine.id
  }

  # Reading the machine's credentials needs a token first. One hop reaches only the machine itself. Pods are one hop further away, so no pod can
  # act as the machine.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    encrypted   = true
    kms_key_id  = var.kms_key_id
    volume_type = "gp3"
    volume_size = var.disk_size
    tags        = merge({ Application = var.name, Name = var.name }, var.tags)
  }

  lifecycle {
    # A newer image or other user data do not replace the machine: user data are only for the first start.
    ignore_changes = [ami, user_data_base64]
  }

  depends_on = [aws_eip.machine, aws_iam_role_policy_attachment.session_manager, aws_vpc_security_group_egress_rule.elsewhere]
}
