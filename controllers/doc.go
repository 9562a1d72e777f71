// Package controllers reads Services, EndpointSlices and this node's Node from
// the API server and hands them over as the model. There is one reconciler for
// each kind that traffic depends on; none of them knows what becomes of the
// model.
package controllers
