package proxy

import (
	"fmt"
	"strings"
)

// Problem is something wrong with a Service or its EndpointSlices. The part
// that it names was left out, or, if it is a Warning, corrected; everything
// else of the Service is in the model.
type Problem struct {
	Warning bool
	// Kind and Name are the object's, Field is the part's path in it.
	Kind  string
	Name  Name
	Field string
	// Reason is for programs, in CamelCase as Events have it.
	Reason string
	// Message says what is wrong and what to do.
	Message string
}

// Reasons of problems.
const (
	ReasonInvalidAddress = "InvalidAddress"
	ReasonInvalidPort    = "InvalidPort"
	ReasonUnknownProto   = "UnknownProtocol"
	ReasonUnknownType    = "UnknownAddressType"
	ReasonFamilyMismatch = "FamilyMismatch"
	ReasonDuplicatePort  = "DuplicatePort"
	ReasonNoClusterIP    = "NoClusterIP"
	ReasonInvalidTimeout = "InvalidTimeout"
	ReasonMoreProblems   = "MoreProblems"
	ReasonTooLarge       = "TooManyElements"
)

// String names the object and its part, then what is wrong.
func (p Problem) String() string {
	return fmt.Sprintf("%s %s: %s: %s", strings.ToLower(p.Kind), p.Name, p.Field, p.Message)
}

// Error makes a Problem an error.
func (p Problem) Error() string { return p.String() }

// maxProblems bounds the problems told of one object: a quarter of a million
// bad endpoints are one mistake.
const maxProblems = 16

// problems collects what is wrong with one object.
type problems struct {
	kind string
	name Name
	list *[]Problem
	told int
	// grave says that one of those that are not told is no warning.
	grave bool
}

func (p *problems) add(warning bool, reason, field, format string, args ...any) {
	p.told++
	if p.told > maxProblems {
		p.grave = p.grave || !warning
		return
	}
	*p.list = append(*p.list, Problem{
		Warning: warning, Kind: p.kind, Name: p.name, Field: field, Reason: reason, Message: fmt.Sprintf(format, args...),
	})
}

func (p *problems) end(field string) {
	if more := p.told - maxProblems; more > 0 {
		*p.list = append(*p.list, Problem{
			Warning: !p.grave, Kind: p.kind, Name: p.name, Field: field, Reason: ReasonMoreProblems, Message: fmt.Sprintf("%d more problems like these", more),
		})
	}
}
