// Package conformance makes a program of the Gateway API's conformance tests; flags say what runs.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) { conformance.RunConformance(t) }
