# with-name-server.sh OPTIONS COMMAND...: in namespaces of its own, with name-server.py as the only name server.
# OPTIONS go to resolv.conf(5). Runs as the first process of its namespace, so all ends with it.
set -e
options=$1
shift
ip link set lo up
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
printf 'nameserver 127.0.0.1\noptions %s\n' "$options" > "$directory/resolv.conf"
mount --bind "$directory/resolv.conf" /etc/resolv.conf
mkfifo "$directory/up"
python3 -u "$(dirname "$0")/name-server.py" > "$directory/up" &
read -r _ < "$directory/up"
"$@"
