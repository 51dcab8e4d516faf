package token

// Card is what may be told of a card: nothing of its number but the last four.
type Card struct {
	PAR   PAR
	Last4 string
	// Living is how many tokens of it could still pay, suspended ones included.
	Living int
}
