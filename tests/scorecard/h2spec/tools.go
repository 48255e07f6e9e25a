//go:build tools

// Package tools pins h2spec, which row R20 of the scorecard builds.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
