// Package alerts tests the alerts of the chart with Prometheus' own engine. It is a
// module of its own, so that what Prometheus consists of is no dependency of the program.
package alerts
