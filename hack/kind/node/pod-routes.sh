#!/bin/bash
# Keeps the routes to the pods of the other nodes, which are in /kind/pod-routes. A node
# may come back from a restart with another address, so its name is asked again and again.
while true; do
	while read -r node cidr; do
		case $cidr in
		*:*) family=-6 database=ahostsv6 ;;
		*) family=-4 database=ahostsv4 ;;
		esac
		via=$(getent "$database" "$node" | awk '{ print $1; exit }')
		[ -z "$via" ] || ip "$family" route replace "$cidr" via "$via"
	done </kind/pod-routes
	sleep 2
done
