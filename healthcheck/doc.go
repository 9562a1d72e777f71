// Package healthcheck answers load balancers that ask whether this node has
// endpoints of a Service with the external traffic policy Local, at the Service's
// health check node port. The answers are kube-proxy's, field for field.
package healthcheck
