// Package maps renders the model as flat maps: a Service is elements of maps
// that all Services share, and a rule exists once for each number of endpoints,
// not once for each Service.
//
//	packet -> services:   VIP . protocol . port         -> goto cluster-6
//	       -> cluster-6:  a random slot in 0..5
//	       -> endpoints:  VIP . protocol . port . slot  -> address . port
//
// Layout is what is there for every set of Services; Elements is what one
// Service adds to it. Both are pure.
package maps
