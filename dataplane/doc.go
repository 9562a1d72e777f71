// Package dataplane keeps the kernel's tables equal to the model.
//
//	Programmer   takes Services as they change, settles who owns a frontend,
//	             and hands what changed to the Writer, all that is there at once
//	Writer       renders, plans and commits; adopts what is in the kernel; sets
//	             aside what the kernel refuses
//
// A Writer does what it is told before it returns, for commands that run once.
// A Programmer adds the queue, for those that keep running.
package dataplane
