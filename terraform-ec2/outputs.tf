output "instance_id" {
  description = "The machine."
  value       = aws_instance.machine.id
}

output "public_ip" {
  description = "Its address, which stays as long as it does."
  value       = aws_eip.machine.public_ip
}

output "urls" {
  description = "The API, for those in allowed_cidrs, once the names lead to public_ip."
  value = {
    command = "http://${var.command_host}/docs/"
    query   = "http://${var.query_host}/docs/"
  }
}

output "hosts" {
  description = "A line for /etc/hosts, where no DNS knows the names."
  value       = "${aws_eip.machine.public_ip} ${var.command_host} ${var.query_host}"
}

output "session" {
  description = "Opens a shell on the machine, without SSH."
  value       = "aws ssm start-session --region ${var.region} --target ${aws_instance.machine.id}"
}

output "progress" {
  description = "In that shell: waits until everything is installed, and shows what runs."
  value       = "cloud-init status --wait && sudo k3s kubectl --namespace microblog get pods"
}

output "forward" {
  description = "Brings the API to port 8080 of this machine, whoever allowed_cidrs names."
  value = join(" ", [
    "aws ssm start-session --region ${var.region} --target ${aws_instance.machine.id}",
    "--document-name AWS-StartPortForwardingSession --parameters portNumber=80,localPortNumber=8080",
  ])
}

output "request" {
  description = "A request through the forwarded port."
  value       = "curl --header 'Host: ${var.query_host}' http://127.0.0.1:8080/v1/timelines/public"
}
