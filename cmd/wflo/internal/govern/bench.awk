# Reads the output of go test -bench and prints one table: what was measured,
# its figures, and the target where there is one. It says which targets were
# missed and ends well all the same.

BEGIN {
	target["govern PluginOverhead", "ratio"] = 1.15
	target["govern Observe", "ratio"] = 1.03
	target["govern OneActivity", "p50-ms"] = 15
	target["govern Decide", "ratio"] = 1.5
	target["govern Waiting", "inbox-p95-ms"] = 200
	target["govern Waiting", "lost"] = 0
	target["govern DevStart/new", "p50-s"] = 2
	target["govern DevStart/again", "p50-s"] = 2
	target["docker Snapshot", "first-to-tar-ratio"] = 1.5
	least["docker Snapshot", "first-to-again-ratio"] = 10
	target["docker Snapshot", "restore-to-untar-ratio"] = 1.5
	target["pgtables MillionRows", "save/pg_dump"] = 1.3
	target["postgres Chat/provider=100ms/callers=32", "added-p50-ms"] = 3
	least["postgres ReserveSettle/goroutines=64", "lifecycles/s"] = 3000
	target["postgres Overspend/workers=4", "factor"] = 1
	target["sqlite Overspend/workers=4", "factor"] = 1
	target["docker FirstByte", "pool-p50-ms"] = 2
	target["docker FirstByte", "pool-p99-ms"] = 10
	target["docker Cold", "cold-to-docker-run-ratio"] = 0.75
	target["docker Kill", "kill-p99-ms"] = 150
	target["docker Stream", "worker-heap-MiB"] = 64
	least["docker FirstByte", "docker-exec-to-pool-ratio"] = 20
	least["docker FirstByte", "docker-run-to-pool-ratio"] = 60
	printf "%-44s %s\n", "benchmark", "figures"
}

$1 == "pkg:" { n = split($2, part, "/"); pkg = part[n] }

$1 ~ /^Benchmark/ && $2 ~ /^[0-9]+$/ {
	name = $1
	sub(/^Benchmark/, "", name)
	sub(/-[0-9]+$/, "", name)
	name = pkg " " name
	line = sprintf("%-44s", name)
	# Where a benchmark reports a median, its mean says less.
	median = $0 ~ /p50/
	for (i = 3; i < NF; i += 2) {
		value = $i
		unit = $(i + 1)
		if (median && (unit == "ns/op" || unit == "B/op" || unit == "allocs/op")) continue
		if (unit == "ns/op" && value >= 1000000) { value = sprintf("%.2f", value / 1000000); unit = "ms/op" }
		else if (unit == "ns/op" && value >= 1000) { value = sprintf("%.2f", value / 1000); unit = "µs/op" }
		line = line " " value " " unit
		key = name SUBSEP $(i + 1)
		if (key in least) {
			line = line " (target at least " least[key] ")"
			if ($i + 0 < least[key]) missed[++misses] = name ": " $i " " $(i + 1) ", the target is at least " least[key]
		}
		if (key in target) {
			line = line " (target " target[key] ")"
			seen[key] = 1
			if ($i + 0 > target[key]) missed[++misses] = name ": " $i " " $(i + 1) ", the target is " target[key]
		}
	}
	print line
	rows++
}

END {
	for (key in target) {
		if (key in seen) continue
		split(key, k, SUBSEP)
		missed[++misses] = k[1] ": not measured"
	}
	print ""
	for (i = 1; i <= misses; i++) print "TARGET MISSED  " missed[i]
	if (misses == 0) print "all targets met"
}
