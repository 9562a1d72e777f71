# Keeps the traffic of tests on this machine. Sourced by kind.sh.
#
# What is sent to an address that no proxy serves takes the default route, and somebody
# out there may even answer. So the cluster's addresses never leave through it, and
# nothing from the nodes does: what they need, they have. Dropped rather than refused,
# as a refusal would look like that of a Service without endpoints.
GUARD="inet kind-$CLUSTER"

# What tests give to Services as external addresses (RFC 2544's benchmarks, and a ULA).
OUTSIDE=198.18.0.0/15,fd00:10:254::/48

guard_up() {
	local all=$POD_CIDRS,$SERVICE_CIDRS,$OUTSIDE ways v4 v6
	v4=$(tr , '\n' <<<"$all" | grep -v : | paste -sd,)
	v6=$(tr , '\n' <<<"$all" | grep : | paste -sd,)
	ways=$({ ip route show default && ip -6 route show default; } | grep -o 'dev [^ ]*' | awk '!seen[$2]++ { print "\"" $2 "\"" }' | paste -sd,)
	guard_down
	[ -n "$ways" ] || return 0
	nft -f - <<-EOF || fail "cannot make the rules that keep the tests' traffic on this machine; see above"
		table $GUARD {
			set ways { type ifname; elements = { $ways }; }
			set nodes { type ifname; }
			chain cluster {
				ip daddr { $v4 } drop
				ip6 daddr { $v6 } drop
			}
			chain forward {
				type filter hook forward priority filter - 10;
				oifname @ways iifname @nodes drop
				oifname @ways jump cluster
			}
			chain output {
				type filter hook output priority filter - 10;
				oifname @ways jump cluster
			}
		}
	EOF
}

# guard_nodes adds the bridge that the nodes are on; kind made it with the first cluster.
guard_nodes() {
	local id
	id=$(docker network inspect kind --format '{{.Id}}')
	nft list table "$GUARD" >/dev/null 2>&1 || return 0
	nft add element "$GUARD" nodes "{ \"br-${id:0:12}\" }"
}

guard_down() { nft delete table "$GUARD" 2>/dev/null || true; }
