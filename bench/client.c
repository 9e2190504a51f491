/*
 * A load client for Server-Sent Events: one thread, epoll, thousands of streams.
 *
 *   client ADDRESS PORT PATH [HEADERS]
 *
 * HEADERS is a file with one header line a stream (`Authorization: Bearer ...`), used in turns. Commands come on
 * standard input, one a line; each is answered by one line of JSON, the waiting ones when they are done:
 *
 *   open N AT_ONCE head|sent SECONDS  open N more streams; "open" means the answer's head came, or the request is out
 *   buffers N BYTES                   the first N streams get receive buffers this small (before `open`)
 *   start | stop                      begin the measuring window | end it and tell what it saw
 *   status                            how the streams are now
 *   wait SEQ SECONDS                  until every stream has the event with this number
 *   stall N | read                    the first N streams stop reading | they read again
 *   reconnect on|off                  come back with the cursor (Last-Event-ID) after a close, a refusal, an error
 *   churn N AT_ONCE SECONDS           N times: connect, wait for the first frame, close
 *
 * An event carries `#SEQ#SENT#` in its data: a number that grows by one from 1, and CLOCK_MONOTONIC nanoseconds taken
 * just before it was published. Latencies go into a log-linear histogram, 64 steps for each doubling (1.6 %), and so
 * does, in a window without events, the time from its beginning to each `bye` with the reason `flag-off`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define TICK_MS 10                  /* how often waiting commands and due reconnects are looked at */
#define RETRY_NS (100 * 1000000LL)  /* mean pause before a reconnect; 50 to 150 % of it */
#define REST_MAX (1 << 20)          /* the longest frame that may be cut by a read */
#define READ_MAX (1 << 18)
#define STEPS 64
#define BUCKETS (STEPS * 48)
#define SOURCES 8                   /* 127.0.0.2 and up, so that ephemeral ports suffice */
#define STDIN_KEY UINT32_MAX

enum state { IDLE, CONNECTING, HEAD, BODY, FAILED };
enum phase { SIZE, DATA, TAIL }; /* of a chunked body */

struct stream {
    int fd;
    enum state state;
    bool opened;        /* was open once, in the sense of `open` */
    bool once;          /* a churn slot: closes after its first frame */
    bool stalled, slow; /* does not read now; its latencies no longer count */
    bool chunked;
    enum phase phase;
    uint64_t chunk_left, seq, cursor;
    int64_t due; /* when to connect again */
    char *rest;  /* of a head or frame that is not complete yet */
    size_t rest_length;
};

static struct { /* totals since the start, and the window's */
    uint64_t lost, repeated, closed, refused, byes, deliveries, bytes, latencies, histogram[BUCKETS];
    int64_t max_ns, began, cpu_began;
    bool on;
} seen;

static struct { /* the command that waits for its end; one at a time */
    enum { NOTHING, OPEN, WAIT, CHURN } kind;
    bool until_sent;
    uint64_t seq;
    int count, begun, done, failed;
    int64_t began, deadline;
} task;

static struct stream *streams;
static int stream_count, opening, at_once = 1 << 30, small_count, small_bytes, header_count, last_status;
static bool reconnecting, look; /* `look`: something happened that `tick` should see at once */
static char **headers;
static char *path, *address;
static struct sockaddr_in server;
static int poller;
static char *buffer;

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void fatal(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void answer(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

/* ---- the histogram, in microseconds ---- */

static int bucket_of(uint64_t us)
{
    if (us < STEPS)
        return (int)us;
    int shift = 63 - __builtin_clzll(us) - 6;
    int bucket = shift * STEPS + (int)(us >> shift);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static double top_of(int bucket) /* microseconds */
{
    if (bucket < 2 * STEPS)
        return bucket + 1;
    int shift = bucket / STEPS - 1;
    return (double)((uint64_t)(bucket - shift * STEPS + 1) << shift);
}

static double quantile_ms(double share)
{
    uint64_t below = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        below += seen.histogram[bucket];
        if (below > 0 && (double)below >= share * (double)seen.latencies)
            return top_of(bucket) / 1000;
    }
    return 0;
}

/* ---- one stream's life ---- */

static void watch(struct stream *s, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)(s - streams)};
    if (epoll_ctl(poller, operation, s->fd, &event) < 0)
        fatal("epoll_ctl");
}

static void keep(struct stream *s, const char *from, size_t length)
{
    if (length > REST_MAX) {
        errno = EMSGSIZE;
        fatal("a frame");
    }
    char *kept = NULL;
    if (length) {
        if (!(kept = malloc(length)))
            fatal("malloc");
        memcpy(kept, from, length);
    }
    free(s->rest);
    s->rest = kept;
    s->rest_length = length;
}

static void mark_open(struct stream *s)
{
    if (s->opened)
        return;
    s->opened = look = true;
    opening--;
}

static void close_stream(struct stream *s)
{
    close(s->fd);
    s->fd = -1;
    keep(s, NULL, 0);
}

static void again(struct stream *s) /* the next cycle of a churn slot */
{
    s->state = task.begun < task.count ? IDLE : FAILED;
    s->opened = false;
    look = true;
    s->due = 0;
}

static void lose(struct stream *s) /* closed, refused or broken, not by us */
{
    bool was_body = s->state == BODY;
    close_stream(s);
    was_body ? seen.closed++ : seen.refused++;
    look = true;
    if (s->once) {
        task.failed++;
        mark_open(s);
        again(s);
        return;
    }
    if (!s->opened)
        opening--;
    s->state = reconnecting ? IDLE : FAILED;
    s->due = now_ns(CLOCK_MONOTONIC) + RETRY_NS / 2 + (int64_t)(drand48() * RETRY_NS);
}

static void begin(struct stream *s)
{
    int index = (int)(s - streams);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        fatal("socket");
    int yes = 1;
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002u + index % SOURCES)};
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(s->fd, (struct sockaddr *)&source, sizeof source) < 0)
        fatal("bind");
    if (index < small_count)
        setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &small_bytes, sizeof small_bytes);
    s->state = CONNECTING;
    s->chunked = false;
    s->phase = SIZE;
    s->chunk_left = 0;
    opening += !s->opened;
    task.begun += s->once;
    if (connect(s->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) {
        lose(s);
        return;
    }
    watch(s, EPOLL_CTL_ADD, EPOLLOUT);
}

static void send_request(struct stream *s)
{
    char request[4096], cursor[64] = "";
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        lose(s);
        return;
    }
    if (s->cursor)
        snprintf(cursor, sizeof cursor, "Last-Event-ID: %llu\r\n", (unsigned long long)s->cursor);
    const char *header = header_count ? headers[(s - streams) % header_count] : "";
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\n%s%s%s\r\n",
                          path, address, ntohs(server.sin_port), header, *header ? "\r\n" : "", cursor);
    if (send(s->fd, request, (size_t)length, MSG_NOSIGNAL) != length) {
        lose(s);
        return;
    }
    s->state = HEAD;
    watch(s, EPOLL_CTL_MOD, EPOLLIN);
    if (task.kind == OPEN && task.until_sent)
        mark_open(s);
}

/* ---- what the server sends ---- */

static void count_latency(int64_t ns)
{
    if (ns > seen.max_ns)
        seen.max_ns = ns;
    seen.latencies++;
    seen.histogram[bucket_of((uint64_t)ns / 1000)]++;
}

static void deliver(struct stream *s, uint64_t seq, int64_t sent, int64_t now)
{
    if (seq > s->seq) {
        seen.lost += seq - s->seq - 1;
        s->seq = seq;
    } else {
        seen.repeated++;
    }
    if (!seen.on)
        return;
    seen.deliveries++;
    if (!s->slow)
        count_latency(now > sent ? now - sent : 0);
}

static void move(int64_t now) /* told that the flag is off */
{
    if (!seen.on)
        return;
    seen.byes++;
    count_latency(now - seen.began);
}

static uint64_t number(const char **at, const char *end)
{
    uint64_t value = 0;
    while (*at < end && **at >= '0' && **at <= '9')
        value = value * 10 + (uint64_t)(*(*at)++ - '0');
    return value;
}

/* Whole frames; returns where the incomplete one begins. A frame counts once its empty line is there. */
static char *take_frames(struct stream *s, char *at, char *end, int64_t now)
{
    char *frame = at, *newline;
    uint64_t id = 0, seq = 0;
    int64_t sent = 0;
    bool bye = false;
    while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
        char *stop = newline > at && newline[-1] == '\r' ? newline - 1 : newline;
        const char *mark;
        if (stop == at) {
            if (id)
                s->cursor = id;
            if (seq)
                deliver(s, seq, sent, now);
            if (bye)
                move(now);
            if (s->once)
                return newline + 1;
            id = seq = 0;
            bye = false;
            frame = newline + 1;
        } else if (*at == 'd' && (mark = memchr(at, '#', (size_t)(stop - at)))) {
            mark++;
            seq = number(&mark, stop);
            mark++;
            sent = (int64_t)number(&mark, stop);
        } else if (*at == 'd' && memmem(at, (size_t)(stop - at), "\"flag-off\"", 10)) {
            bye = true;
        } else if (*at == 'i' && stop - at > 4) {
            mark = at + 3 + (at[3] == ' ');
            id = number(&mark, stop);
        }
        at = newline + 1;
    }
    return frame;
}

/* Takes a chunked body's framing out, in place; returns the new length. */
static size_t dechunk(struct stream *s, char *start, size_t length)
{
    char *in = start, *out = start, *end = start + length;
    while (in < end) {
        if (s->phase == DATA) {
            size_t part = (size_t)(end - in) < s->chunk_left ? (size_t)(end - in) : s->chunk_left;
            memmove(out, in, part);
            in += part, out += part, s->chunk_left -= part;
            if (!s->chunk_left)
                s->phase = TAIL;
            continue;
        }
        char c = *in++;
        if (c == '\n')
            s->phase = s->phase == TAIL ? SIZE : s->chunk_left ? DATA : TAIL;
        else if (s->phase == SIZE && c != '\r')
            s->chunk_left = s->chunk_left * 16 + (uint64_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return (size_t)(out - start);
}

/* The answer's head; returns where the body begins, or NULL if it is not all there or no stream. */
static char *take_head(struct stream *s, char *start, size_t length)
{
    char *end = memmem(start, length, "\r\n\r\n", 4);
    if (!end) {
        keep(s, start, length);
        return NULL;
    }
    *end = 0;
    last_status = atoi(start + 9);
    if (last_status != 200) {
        lose(s);
        return NULL;
    }
    s->chunked = strcasestr(start, "transfer-encoding: chunked") != NULL;
    s->state = BODY;
    mark_open(s);
    return end + 4;
}

static void finish_cycle(struct stream *s)
{
    close_stream(s);
    task.done++;
    again(s);
}

static void receive(struct stream *s)
{
    size_t before = s->rest_length;
    if (before)
        memcpy(buffer, s->rest, before);
    ssize_t got = recv(s->fd, buffer + before, READ_MAX, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            lose(s);
        return;
    }
    int64_t now = now_ns(CLOCK_MONOTONIC);
    if (seen.on)
        seen.bytes += (uint64_t)got;
    char *start = buffer, *end = buffer + before + got, *fresh = buffer + before;
    if (s->state == HEAD) {
        start = fresh = take_head(s, buffer, before + (size_t)got);
        if (!start)
            return;
    }
    if (s->chunked)
        end = fresh + dechunk(s, fresh, (size_t)(end - fresh));
    char *left = take_frames(s, start, end, now);
    if (s->once && left > start)
        finish_cycle(s);
    else
        keep(s, left, (size_t)(end - left));
}

/* ---- commands ---- */

static void add_streams(int count, bool once)
{
    streams = realloc(streams, sizeof *streams * (size_t)(stream_count + count));
    if (!streams)
        fatal("realloc");
    memset(streams + stream_count, 0, sizeof *streams * (size_t)count);
    for (int i = 0; i < count; i++, stream_count++) {
        streams[stream_count].fd = -1;
        streams[stream_count].once = once;
    }
}

static void start_task(int kind, double seconds)
{
    task.kind = kind;
    task.begun = task.done = task.failed = 0;
    task.began = now_ns(CLOCK_MONOTONIC);
    task.deadline = task.began + (int64_t)(seconds * SECOND);
}

static void tell_status(const char *name)
{
    int in_state[FAILED + 1] = {0}, complete = 0;
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < stream_count; i++) {
        in_state[streams[i].state]++;
        complete += streams[i].seq >= task.seq;
        least = streams[i].seq < least ? streams[i].seq : least;
    }
    answer("{\"answer\": \"%s\", \"streaming\": %d, \"waiting\": %d, \"failed\": %d, \"complete\": %d, \"least_seq\": %llu, "
           "\"lost\": %llu, \"repeated\": %llu, \"closed\": %llu, \"refused\": %llu, \"last_status\": %d, \"seconds\": %.4f}",
           name, in_state[BODY], in_state[IDLE] + in_state[CONNECTING] + in_state[HEAD], in_state[FAILED], complete,
           (unsigned long long)(stream_count ? least : 0), (unsigned long long)seen.lost, (unsigned long long)seen.repeated,
           (unsigned long long)seen.closed, (unsigned long long)seen.refused, last_status,
           (double)(now_ns(CLOCK_MONOTONIC) - task.began) / SECOND);
}

static void start_window(void)
{
    seen.deliveries = seen.byes = seen.bytes = seen.latencies = 0;
    seen.max_ns = 0;
    memset(seen.histogram, 0, sizeof seen.histogram);
    seen.on = true;
    seen.began = now_ns(CLOCK_MONOTONIC);
    seen.cpu_began = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    answer("{\"answer\": \"start\"}");
}

static void stop_window(void)
{
    double seconds = (double)(now_ns(CLOCK_MONOTONIC) - seen.began) / SECOND;
    double cpu = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - seen.cpu_began) / SECOND;
    seen.on = false;
    answer("{\"answer\": \"stop\", \"seconds\": %.4f, \"deliveries\": %llu, \"byes\": %llu, \"bytes\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"max_ms\": %.3f, \"client_cpu_s\": %.4f, \"lost\": %llu, \"repeated\": %llu, \"closed\": %llu}",
           seconds, (unsigned long long)seen.deliveries, (unsigned long long)seen.byes, (unsigned long long)seen.bytes,
           quantile_ms(0.5), quantile_ms(0.99),
           (double)seen.max_ns / 1e6, cpu, (unsigned long long)seen.lost, (unsigned long long)seen.repeated,
           (unsigned long long)seen.closed);
}

static void stall(int count, bool stalled)
{
    for (int i = 0; i < count && i < stream_count; i++) {
        struct stream *s = &streams[i];
        if (s->stalled == stalled)
            continue;
        s->stalled = stalled;
        s->slow = true;
        if (s->state == BODY && stalled)
            epoll_ctl(poller, EPOLL_CTL_DEL, s->fd, NULL);
        else if (s->state == BODY)
            watch(s, EPOLL_CTL_ADD, EPOLLIN);
    }
    answer("{\"answer\": \"stall\"}");
}

static void obey(const char *line)
{
    int count, limit;
    double seconds;
    char word[16];
    unsigned long long seq;
    if (sscanf(line, "open %d %d %15s %lf", &count, &limit, word, &seconds) == 4) {
        add_streams(count, false);
        at_once = limit;
        task.until_sent = strcmp(word, "sent") == 0;
        start_task(OPEN, seconds);
    } else if (sscanf(line, "wait %llu %lf", &seq, &seconds) == 2) {
        task.seq = seq;
        start_task(WAIT, seconds);
    } else if (sscanf(line, "churn %d %d %lf", &count, &limit, &seconds) == 3) {
        task.count = count;
        at_once = limit;
        start_task(CHURN, seconds);
        add_streams(limit, true);
    } else if (sscanf(line, "buffers %d %d", &small_count, &small_bytes) == 2) {
        answer("{\"answer\": \"buffers\"}");
    } else if (sscanf(line, "reconnect %15s", word) == 1) {
        reconnecting = strcmp(word, "on") == 0;
        at_once = 1 << 30;
        answer("{\"answer\": \"reconnect\"}");
    } else if (sscanf(line, "stall %d", &count) == 1) {
        stall(count, true);
    } else if (strcmp(line, "read") == 0) {
        stall(stream_count, false);
    } else if (strcmp(line, "start") == 0) {
        start_window();
    } else if (strcmp(line, "stop") == 0) {
        stop_window();
    } else if (strcmp(line, "status") == 0) {
        tell_status("status");
    } else {
        fprintf(stderr, "client: no such command: %s\n", line);
        exit(2);
    }
}

static void read_commands(void)
{
    static char line[4096];
    static size_t length;
    ssize_t got = read(0, line + length, sizeof line - length - 1);
    if (got <= 0)
        exit(0); /* whoever started us is gone */
    look = true;
    length += (size_t)got;
    line[length] = 0;
    for (char *newline; (newline = strchr(line, '\n')); length = strlen(line)) {
        *newline = 0;
        obey(line);
        memmove(line, newline + 1, strlen(newline + 1) + 1);
    }
}

/* ---- the loop ---- */

static void end_churn(void)
{
    while (stream_count && streams[stream_count - 1].once) {
        struct stream *s = &streams[--stream_count];
        if (s->fd >= 0)
            close_stream(s);
        keep(s, NULL, 0);
    }
    opening = 0;
    answer("{\"answer\": \"churn\", \"cycles\": %d, \"failed\": %d, \"seconds\": %.4f}", task.done, task.failed,
           (double)(now_ns(CLOCK_MONOTONIC) - task.began) / SECOND);
}

/* Begins what is due and ends the waiting command once it is done; true if there is something to wait for. */
static bool tick(void)
{
    int64_t now = now_ns(CLOCK_MONOTONIC);
    bool idle = false, all_opened = true, all_complete = true;
    for (int i = 0; i < stream_count; i++) {
        struct stream *s = &streams[i];
        /* Several slots may have become free before the last cycle began. */
        bool wanted = !s->once || task.begun < task.count;
        if (s->state == IDLE && wanted && !s->stalled && now >= s->due && opening < at_once)
            begin(s);
        idle |= s->state == IDLE && !s->stalled;
        all_opened &= s->opened || s->state == FAILED;
        all_complete &= s->seq >= task.seq;
    }
    bool late = task.kind != NOTHING && now >= task.deadline;
    if (task.kind == OPEN && (all_opened || late)) {
        task.kind = NOTHING;
        tell_status("open");
    } else if (task.kind == WAIT && (all_complete || late)) {
        task.kind = NOTHING;
        tell_status("wait");
    } else if (task.kind == CHURN && (task.done + task.failed >= task.count || late)) {
        task.kind = NOTHING;
        end_churn();
    }
    return idle || task.kind != NOTHING;
}

static void handle(struct epoll_event *event)
{
    if (event->data.u32 == STDIN_KEY) {
        read_commands();
        return;
    }
    if (event->data.u32 >= (uint32_t)stream_count)
        return; /* a churn slot that has just gone */
    struct stream *s = &streams[event->data.u32];
    if (s->fd < 0 || s->stalled)
        return;
    if (s->state == CONNECTING)
        send_request(s);
    else
        receive(s);
}

static void read_headers(const char *name)
{
    FILE *file = fopen(name, "r");
    char line[2048];
    if (!file)
        fatal(name);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        headers = realloc(headers, sizeof *headers * (size_t)(header_count + 1));
        headers[header_count++] = strdup(line);
    }
    fclose(file);
}

static void raise_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int count, char **arguments)
{
    if (count < 4) {
        fprintf(stderr, "usage: client ADDRESS PORT PATH [HEADERS]\n");
        return 2;
    }
    address = arguments[1];
    path = arguments[3];
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[2]))};
    inet_pton(AF_INET, address, &server.sin_addr);
    if (count > 4)
        read_headers(arguments[4]);
    raise_limit();
    buffer = malloc(REST_MAX + READ_MAX);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = STDIN_KEY}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
    int64_t ticked = 0;
    for (bool waiting = false;;) {
        int ready = epoll_wait(poller, events, 256, waiting ? TICK_MS : -1);
        for (int i = 0; i < ready; i++)
            handle(&events[i]);
        int64_t now = now_ns(CLOCK_MONOTONIC);
        if (look || (waiting && now - ticked >= TICK_MS * 1000000LL)) {
            look = false;
            waiting = tick();
            ticked = now;
        }
    }
}
