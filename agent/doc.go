// Package agent is what "kube-verdict run" consists of: it wires the
// reconcilers, the data plane, metrics and health together and runs them until
// it is told to stop. The rules stay when it stops.
package agent
