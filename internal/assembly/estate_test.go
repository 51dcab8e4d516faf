package assembly

import (
	"strings"
	"testing"
)

// TestOperators: a terminal has one owner, whatever way its number is spelled.
func TestOperators(t *testing.T) {
	const name, number = "estate.operators: a name", "estate.operators: a terminal number"
	for _, c := range []struct {
		all  map[string][]string
		want string // "": nothing is said of operators
	}{
		{map[string][]string{"north": {"000000000001"}, "south": {"00000000000A"}}, ""},
		{map[string][]string{"no rth": {"000000000001"}}, name},
		{map[string][]string{"": {"000000000001"}}, name},
		{map[string][]string{"north": {"0001"}}, number},
		{map[string][]string{"north": {"terminal one"}}, number},
		{map[string][]string{"north": {"000000000001"}, "south": {"000000000001"}}, number},
		{map[string][]string{"north": {"0000000000aB"}, "south": {"0000000000Ab"}}, number},
	} {
		err := Config{Estate: Estate{Operators: c.all}}.Validate()
		if said := err.Error(); !strings.Contains(said, c.want) || c.want == "" && strings.Contains(said, "estate.operators") {
			t.Errorf("%v: %s", c.all, said)
		}
	}
	owners := Config{Estate: Estate{Operators: map[string][]string{"south": {"00000000000a"}}}}.owners()
	if len(owners) != 1 || owners[[6]byte{5: 10}] != "south" {
		t.Errorf("owners: %v", owners)
	}
}
