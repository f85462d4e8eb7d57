# Runs a database on behalf of another process, and never longer than that process lives.
#
#   sh -c "$(cat guard.sh)" guard <directory to delete when the parent is gone, or ""> <log file> <command> [argument...]
#
# The parent holds the other end of our standard input. Each line it writes is the name of a signal for the database. When
# it closes the pipe, or dies of whatever cause (the kernel closes the pipe then), the database is asked to stop, is killed
# if it has not stopped ten seconds later, and the directory is deleted. The first line of our output is the database's process id.
doomed=$1
log=$2
shift 2
exec 3<&0 0</dev/null

"$@" 3<&- >>"$log" 2>&1 &
database=$!
echo "$database"
exec >/dev/null

(
    while read -r signal <&3; do
        kill -s "$signal" "$database" 2>/dev/null
    done
    # From here on the end of the database must not end this watcher: there is cleaning up to do.
    trap '' TERM
    kill -s TERM "$database" 2>/dev/null
    tenths=0
    while kill -0 "$database" 2>/dev/null; do
        if [ "$tenths" -eq 100 ]; then kill -s KILL "$database" 2>/dev/null; fi
        tenths=$((tenths + 1))
        sleep 0.1
    done
    if [ -n "$doomed" ]; then rm -rf "$doomed"; fi
) 2>/dev/null &
watcher=$!

wait "$database"
status=$?
kill -s TERM "$watcher" 2>/dev/null
wait "$watcher"
exit "$status"
