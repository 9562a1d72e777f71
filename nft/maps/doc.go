// Package maps renders the model as flat maps: a Service is elements of maps
// that all Services share, and a rule exists once for each number of endpoints,
// not once for each Service.
//
//	packet -> services:   VIP . protocol . port         -> 0:6, a number
//	       -> dispatch:   0:6                           -> goto cluster-6
//	       -> cluster-6:  a random slot in 0..5
//	       -> endpoints:  VIP . protocol . port . slot  -> address . port
//
// The number is handed on in the packet's priority. A verdict for each Service would do
// as well, but whenever one is added, the kernel goes through all of them.
//
// Layout is what is there for every set of Services; Elements is what one
// Service adds to it. Both are pure.
package maps
