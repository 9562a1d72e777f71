// Package metrics has the names, meanings and registration of kube-verdict's
// own metrics.
package metrics
