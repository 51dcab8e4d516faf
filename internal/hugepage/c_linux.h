#include <stddef.h>

/* hugepage_room has the heap of malloc grow by this much in one piece, now and later,
   and asks for large pages there. It returns 0 or an errno. */
int hugepage_room(size_t room);
void hugepage_trim(void);
