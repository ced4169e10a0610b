// Package cel evaluates expressions over JSON that is not decoded. The language is a
// part of the Common Expression Language (github.com/google/cel-spec) with a few
// functions of our own; docs/mapping.md says which.
//
// It promises that whatever it compiles means what it means to cel-go, against which
// it is tested: the same value, or an error in both. It has no macros but has, no
// maps, types, bytes or unsigned integers of its own, and no times. Numbers of JSON
// that are written without a fraction or exponent, and fit, are ints; others doubles.
// Of members of one name the last counts.
//
// Values are read out of the bytes as they are asked for. A plain path, such as
// req.?temperature, costs no allocation; nor does anything else once an Env has grown
// to what its expressions need. What an evaluation may cost is bounded, see Limits.
package cel
