package alerts

// behind is when a change was queued and when a round last succeeded, in seconds, one
// value for each half minute.
func behind(queued, last string) []string {
	return []string{
		`kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv4"} ` + queued,
		`kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv6"} ` + queued,
		`kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} ` + last,
		`kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv6"} ` + last,
	}
}

// onNode are the labels of an alert about a node.
func onNode(name string) map[string]string {
	return map[string]string{"node": name, "instance": addressOf(name)}
}

// service are those of an alert about a Service, with the Service's own namespace.
func service(namespace, name string) map[string]string {
	return map[string]string{"namespace": namespace, "service": name}
}

// check is what agents show, and which alerts there are in the end. Values are as in
// promtool's tests, one for each half minute.
type check struct {
	what  string
	alert string
	// nodes have what the agent on each shows.
	nodes map[string][]string
	// want are the labels of the alerts that fire; without any, none has at any time.
	want []map[string]string
	// says is in what each alert says.
	says string
}

func on(node string, series ...string) map[string][]string {
	return map[string][]string{node: series}
}

func checks() []check {
	return []check{
		{"each round fails", "KubeVerdictProgrammingFails", on("w1", `kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 0+1x40`, `kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv6"} 0+1x40`), []map[string]string{onNode("w1")}, "not programmed on w1"},
		{"two rounds have failed", "KubeVerdictProgrammingFails", on("w1", `kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 0 1 2x38`), nil, ""},

		{"one change waits", "KubeVerdictBehind", on("w1", behind("590x40", "580x40")...), []map[string]string{onNode("w1")}, "wait on w1"},
		{"changes wait, and more come", "KubeVerdictBehind", on("w1", behind("0+30x40", "0+30x10 300x30")...), []map[string]string{onNode("w1")}, "wait on w1"},
		{"nothing was ever programmed", "KubeVerdictBehind", on("w1", behind("10x40", "_x40")...), []map[string]string{onNode("w1")}, "wait on w1"},
		{"nothing changes", "KubeVerdictBehind", on("w1", behind("0x40", "0.01x40")...), nil, ""},
		{"changes are programmed as they come", "KubeVerdictBehind", on("w1", behind("0+30x40", "0+30x40")...), nil, ""},
		{"each change has just come, and those before are programmed", "KubeVerdictBehind", on("w1", behind("0+30x40", "-0.1+30x40")...), nil, ""},
		{"one change comes after a quiet time, and is programmed", "KubeVerdictBehind", on("w1", behind("0x20 629x20", "0.01x20 0.01 629.01x19")...), nil, ""},

		{"a change in a hundred takes a minute", "KubeVerdictProgrammingSlow", on("w1",
			`kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="30"} 0+90x80`,
			`kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="60"} 0+100x80`,
			`kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="+Inf"} 0+100x80`), []map[string]string{onNode("w1")}, "long to show on w1"},
		{"all take a second", "KubeVerdictProgrammingSlow", on("w1",
			`kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="1"} 0+100x80`,
			`kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="60"} 0+100x80`,
			`kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="+Inf"} 0+100x80`), nil, ""},

		{"two Services of one name are refused, one of them on two nodes", "KubeVerdictServiceRefused", map[string][]string{
			"w1": {`kube_verdict_service_refused{namespace="shop",service="web"} 1x40`, `kube_verdict_service_refused{namespace="blog",service="web"} 1x40`},
			"w2": {`kube_verdict_service_refused{namespace="shop",service="web"} 1x40`},
		}, []map[string]string{service("blog", "web"), service("shop", "web")}, "/web"},
		{"a Service is refused for five minutes", "KubeVerdictServiceRefused", on("w1", `kube_verdict_service_refused{namespace="shop",service="web"} 1x10 _x30`), nil, ""},

		{"a Service does not get an address", "KubeVerdictServiceConflict", on("w1", `kube_verdict_service_conflicts{namespace="shop",service="web"} 2x40`), []map[string]string{service("shop", "web")}, "Service shop/web"},
		{"it does after a while", "KubeVerdictServiceConflict", on("w1", `kube_verdict_service_conflicts{namespace="shop",service="web"} 2x10 _x30`), nil, ""},

		{"a part of a Service is wrong", "KubeVerdictServiceProblem", on("w1", `kube_verdict_service_problems{namespace="shop",service="web"} 1x40`), []map[string]string{service("shop", "web")}, "Service shop/web"},
		{"it is mended", "KubeVerdictServiceProblem", on("w1", `kube_verdict_service_problems{namespace="shop",service="web"} 1x10 _x30`), nil, ""},

		{"another process fights", "KubeVerdictTablesContested", on("w2", `kube_verdict_tables_contested 1x20`), []map[string]string{onNode("w2")}, "on w2"},
		{"nobody does", "KubeVerdictTablesContested", on("w2", `kube_verdict_tables_contested 0x20`), nil, ""},

		{"tables are repaired again and again", "KubeVerdictTablesRepaired", on("w1", `kube_verdict_repairs_total{kind="table"} 0+1x40`), []map[string]string{{"node": "w1", "instance": addressOf("w1"), "kind": "table"}}, "on w1"},
		{"they were repaired twice", "KubeVerdictTablesRepaired", on("w1", `kube_verdict_repairs_total{kind="table"} 0 1 2x38`), nil, ""},
	}
}
