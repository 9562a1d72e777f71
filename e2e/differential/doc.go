// Package differential compares kube-verdict with kube-proxy: two nodes with the
// same pods and clients around them, one programmed by each from one API server,
// are asked the same questions, and have to give the same answers.
//
//	scenario  Services and EndpointSlices, and changes of them
//	world     the two nodes, their neighbours, and what runs on them
//	probe     what every client gets from every frontend
//	compare   where the two differ
package differential
