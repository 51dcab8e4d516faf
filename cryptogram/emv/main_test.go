package emv_test

import (
	"os"
	"testing"

	"github.com/tapvault/tapvault/hsm/hsmtest"
)

func TestMain(m *testing.M) { os.Exit(hsmtest.Main(m)) }
