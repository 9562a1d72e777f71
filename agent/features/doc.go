// Package features has the feature gates: abilities that are switched one by
// one, each with its stage and meaning.
package features
