// Package translate writes what iptables rules stand for in other forms: as the
// Kubernetes objects that they were made from, and as JSON.
//
//	iptables.Reading --Model--> []proxy.Service --Objects--> Services, EndpointSlices
//	                 --JSON--> what connections to each frontend meet
package translate
