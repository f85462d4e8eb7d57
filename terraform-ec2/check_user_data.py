"""Whether the user data say what was put into them: `check_user_data.py RENDERED install.sh`."""

import base64
import json
import sys
import zlib

import yaml

rendered = json.load(open(sys.argv[1], encoding="utf-8"))
install = open(sys.argv[2], encoding="utf-8").read()

text = rendered["user_data"]
assert text.startswith("#cloud-config\n"), "cloud-init would not know what it is"
document = yaml.safe_load(text)
files = {file["path"]: file for file in document["write_files"]}

assert files["/usr/local/sbin/microblog-install"]["content"] == install
assert files["/usr/local/sbin/microblog-install"]["permissions"] == "0755"
assert document["runcmd"] == [["/usr/local/sbin/microblog-install"]]

settings = files["/etc/microblog/settings"]["content"]
assert dict(line.split("=", 1) for line in settings.splitlines()) == rendered["settings"], settings

for number, values in enumerate(rendered["values"]):
    file = files[f"/etc/microblog/values-{number}.yaml"]
    assert file["content"] == values, file
    assert isinstance(yaml.safe_load(values), dict), values

zipped = base64.b64decode(rendered["zipped"])
assert zlib.decompress(zipped, 16 + zlib.MAX_WBITS).decode() == text
# EC2 refuses more.
assert len(zipped) <= 16384, f"{len(zipped)} bytes are too many"
