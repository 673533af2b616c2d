/* ncurses. */
#include "top_screen.h"

#include <curses.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "buf.h"
#include "top_page.h"

#define ESCAPE_MS 25 /* a lone Esc is one when nothing follows for so long */

struct screen {
	SCREEN *curses;     /* owned */
	bool colours;
};

/* Every look is more than a colour. */
static const struct {
	attr_t attributes;
	short colour;       /* -1: the terminal's own */
} looks[LOOKS] = {
	[LOOK_PLAIN] = { A_NORMAL, -1 },
	[LOOK_TITLE] = { A_BOLD | A_UNDERLINE, COLOR_CYAN },
	[LOOK_DIM] = { A_DIM, -1 },
	[LOOK_GOOD] = { A_NORMAL, COLOR_GREEN },
	[LOOK_WARN] = { A_BOLD, COLOR_YELLOW },
	[LOOK_BAD] = { A_BOLD, COLOR_RED },
	[LOOK_CHOSEN] = { A_REVERSE, -1 },
};

static const struct {
	int code; /* of curses */
	enum top_key key;
} keys[] = {
	{ 'q', TOP_QUIT }, { 'Q', TOP_QUIT }, { KEY_F(10), TOP_QUIT }, { KEY_UP, TOP_UP }, { 'k', TOP_UP }, { KEY_DOWN, TOP_DOWN }, { 'j', TOP_DOWN },
	{ '\n', TOP_DETAIL }, { '\r', TOP_DETAIL }, { KEY_ENTER, TOP_DETAIL }, { 27, TOP_BACK }, { KEY_LEFT, TOP_BACK }, { 's', TOP_SORT },
	{ KEY_F(6), TOP_SORT }, { '\t', TOP_PART }, { 'p', TOP_HOLD }, { ' ', TOP_HOLD }, { '+', TOP_SLOWER }, { '-', TOP_FASTER }, { 'h', TOP_HELP },
	{ '?', TOP_HELP }, { KEY_F(1), TOP_HELP },
};

/* https://no-color.org */
static bool
may_colour(void)
{
	const char *no = getenv("NO_COLOR");
	return (no == NULL || no[0] == '\0') && has_colors();
}

static void
set_colours(void)
{
	start_color();
	use_default_colors();
	for (size_t look = 0; look < LOOKS; look++)
		init_pair((short)(look + 1), looks[look].colour, -1);
}

struct screen *
screen_new(void)
{
	SCREEN *curses = newterm(NULL, stdout, stdin);
	if (curses == NULL)
		return NULL;
	struct screen *screen = xcalloc(1, sizeof *screen);
	screen->curses = curses;
	screen->colours = may_colour();
	if (screen->colours)
		set_colours();
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(ESCAPE_MS);
	curs_set(0);
	return screen;
}

void
screen_free(struct screen **screen)
{
	struct screen *s = *screen;
	*screen = NULL;
	if (s == NULL)
		return;
	endwin();
	delscreen(s->curses);
	free(s);
}

void
screen_size(const struct screen *screen, unsigned *width, unsigned *height)
{
	struct winsize size;
	ASSERT(screen->curses != NULL);
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0 && is_term_resized(size.ws_row, size.ws_col))
		resizeterm(size.ws_row, size.ws_col);
	*width = (unsigned)getmaxx(stdscr);
	*height = (unsigned)getmaxy(stdscr);
}

static void
show_line(const struct screen *screen, const struct page *page, unsigned line, struct buf *text)
{
	const struct cell *cells = page_cells(page, line);
	for (unsigned at = 0, end; at < page->width; at = end) {
		unsigned char look = cells[at].look;
		buf_reset(text);
		for (end = at; end < page->width && cells[end].look == look; end++)
			buf_adds(text, cells[end].text);
		ASSERT(look < LOOKS);
		attr_set(looks[look].attributes, (short)(screen->colours ? look + 1 : 0), NULL);
		mvaddstr((int)line, (int)at, buf_cstr(text));
	}
}

void
screen_show(struct screen *screen, const struct page *page)
{
	struct buf text = BUF_INIT;
	ASSERT(screen->curses != NULL && page->lines <= page->height);
	erase();
	for (unsigned line = 0; line < page->lines; line++)
		show_line(screen, page, line, &text);
	attrset(A_NORMAL);
	refresh();
	buf_free(&text);
}

enum top_key
screen_key(struct screen *screen)
{
	int code = getch();
	ASSERT(screen->curses != NULL);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		if (keys[i].code == code)
			return keys[i].key;
	}
	return code == ERR ? TOP_NONE : TOP_KEYS;
}
