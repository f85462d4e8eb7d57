output "instance_id" {
  description = "The instance."
  value       = aws_instance.machine.id
}

output "public_ip" {
  description = "Its Elastic IP address. It stays when the machine is replaced."
  value       = aws_eip.machine.public_ip
}

output "url" {
  description = "The address of everything for allowed_cidrs, once DNS or /etc/hosts maps the name to public_ip."
  value       = "http://${var.host}/"
}

output "hosts" {
  description = "A line for /etc/hosts, if no DNS knows the name."
  value       = "${aws_eip.machine.public_ip} ${var.host}"
}

output "session" {
  description = "Opens a shell on the machine, without SSH."
  value       = "aws ssm start-session --region ${var.region} --target ${aws_instance.machine.id}"
}

output "progress" {
  description = "In that shell: waits until everything is installed, and shows the pods."
  value       = "cloud-init status --wait && sudo k3s kubectl --namespace microblog get pods"
}

output "forward" {
  description = "Forwards everything to port 8080 of your machine. This does not need allowed_cidrs."
  value = join(" ", [
    "aws ssm start-session --region ${var.region} --target ${aws_instance.machine.id}",
    "--document-name AWS-StartPortForwardingSession --parameters portNumber=80,localPortNumber=8080",
  ])
}

output "request" {
  description = "A request through the forwarded port."
  value       = "curl --header 'Host: ${var.host}' http://127.0.0.1:8080/v1/timelines/public"
}
