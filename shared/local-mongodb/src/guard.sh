# Runs a database for another process, and ends it when that process ends.
#
#   sh -c "$(cat guard.sh)" guard <directory to delete when the parent is gone, or ""> <log file> <command> [argument...]
#
# The parent has the other end of our standard input. Each line that it writes is the name of a signal for the database. When the parent
# closes the pipe or dies (then the kernel closes it), the guard asks the database to stop, kills it after ten seconds if it still runs, and
# deletes the directory. The first line of our output is the process id of the database.
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
    # From here on, the end of the database must not end this watcher, because it still has to clean up.
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
