/* Ask a DNS server at a fixed rate, whatever it does (an open loop), and tell how long replies took.
 *
 *     latency PORT QUERYFILE RATE SECONDS
 *
 * QUERYFILE has dnsperf's form, NAME TYPE; the server is on 127.0.0.1. Lines of `KEY VALUE` come out: sent, lost (no
 * reply until PATIENCE after the last question), servfail, slow (replies that took over SLOW), p50, p99, p99.9 and
 * max in milliseconds, late (how far behind its time the asker itself was at worst, in milliseconds), and a line
 * `window START MILLISECONDS` for each tenth of a second that a slow question was asked in, with the slowest of it.
 *
 * A reply's time is from the call that sent its question to the moment at which the kernel had the reply
 * (SO_TIMESTAMPNS): if the asker has to wait for the processor, that is not the server's fault, and `late` tells.
 * Between questions it sleeps, as clients do, so that it takes no more of a shared core than it needs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum { SOCKETS = 16, IDS = 1 << 16, RECEIVE_BUFFER = 4 << 20, HEADER = 12, LONGEST_NAME = 255 };
enum { RCODE = 15, SERVFAIL = 2 };
static const double PATIENCE = 2, SLOW = 0.020, WINDOW = 0.1;

struct question {
    uint16_t size;
    uint8_t octets[HEADER + LONGEST_NAME + 4];
};

static struct question *questions;
static long question_count;
static struct pollfd sockets[SOCKETS];
static double asked_at[SOCKETS][IDS]; /* 0: nothing is awaited */
static double *latencies;
static float *windows;
static long window_count, received, servfails, slow;
static double began;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double seconds(struct timespec time)
{
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time); /* the clock that the kernel stamps datagrams by */
    return seconds(time);
}

static int type_of(const char *text)
{
    static const struct { const char *text; int type; } types[] = {
        {"A", 1}, {"NS", 2}, {"CNAME", 5}, {"SOA", 6}, {"PTR", 12}, {"MX", 15}, {"TXT", 16}, {"AAAA", 28}, {"SRV", 33}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcasecmp(text, types[i].text))
            return types[i].type;
    fprintf(stderr, "unknown type %s\n", text);
    exit(1);
}

/* A header with RD and one question (RFC 1035 section 4.1), the name in labels, class IN. */
static void encode(struct question *question, char *name, const char *type)
{
    uint8_t *at = question->octets;
    memset(at, 0, HEADER);
    at[2] = 1;
    at[5] = 1;
    at += HEADER;
    for (char *label = strtok(name, "."); label; label = strtok(NULL, ".")) {
        size_t size = strlen(label);
        *at++ = (uint8_t)size;
        memcpy(at, label, size);
        at += size;
    }
    *at++ = 0;
    *at++ = 0;
    *at++ = (uint8_t)type_of(type);
    *at++ = 0;
    *at++ = 1;
    question->size = (uint16_t)(at - question->octets);
}

static void read_questions(const char *path)
{
    char name[LONGEST_NAME], type[16];
    long room = 0;
    FILE *file = fopen(path, "r");
    if (!file)
        fail(path);
    while (fscanf(file, "%254s %15s", name, type) == 2) {
        if (question_count == room) {
            room = room ? 2 * room : 1024;
            questions = realloc(questions, room * sizeof *questions);
            if (!questions)
                fail("realloc");
        }
        encode(&questions[question_count++], name, type);
    }
    fclose(file);
    if (!question_count) {
        fprintf(stderr, "%s: no questions\n", path);
        exit(1);
    }
}

static void open_sockets(int port)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1, size = RECEIVE_BUFFER;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < SOCKETS; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (fd < 0)
            fail("socket");
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0)
            fail("SO_TIMESTAMPNS");
        if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0)
            fail("connect");
        sockets[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
}

static void ask(long number)
{
    int which = number % SOCKETS;
    uint16_t id = (uint16_t)(number / SOCKETS);
    struct question *question = &questions[number % question_count];
    question->octets[0] = id >> 8;
    question->octets[1] = id & 0xff;
    asked_at[which][id] = now();
    if (send(sockets[which].fd, question->octets, question->size, 0) < 0)
        asked_at[which][id] = 0; /* the kernel took none of it: lost */
}

static void note(double sent, double taken, const uint8_t *reply)
{
    latencies[received++] = taken;
    servfails += (reply[3] & RCODE) == SERVFAIL;
    if (taken <= SLOW)
        return;
    slow++;
    long window = (long)((sent - began) / WINDOW);
    if (window < window_count && taken > windows[window])
        windows[window] = (float)taken;
}

static void receive(int which)
{
    static uint8_t reply[1 << 16];
    union {
        struct cmsghdr header;
        char octets[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    for (;;) {
        struct iovec vector = {reply, sizeof reply};
        struct msghdr message = {
            .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t size = recvmsg(sockets[which].fd, &message, 0);
        if (size < 0)
            return;
        uint16_t id = (uint16_t)(reply[0] << 8 | reply[1]);
        double sent = asked_at[which][id], at = now();
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_TIMESTAMPNS)
            at = seconds(*(struct timespec *)CMSG_DATA(header));
        if (size < HEADER || !sent)
            continue;
        asked_at[which][id] = 0;
        note(sent, at > sent ? at - sent : 0, reply);
    }
}

/* Wait for a reply, but not beyond a moment. */
static void wait_until(double moment)
{
    double left = moment - now();
    if (left < 0)
        left = 0;
    struct timespec time = {.tv_sec = (time_t)left, .tv_nsec = (long)((left - (time_t)left) * 1e9)};
    if (ppoll(sockets, SOCKETS, &time, NULL) <= 0)
        return;
    for (int i = 0; i < SOCKETS; i++)
        if (sockets[i].revents & POLLIN)
            receive(i);
}

static int ascending(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static double percentile(double share)
{
    return received ? 1e3 * latencies[(long)((received - 1) * share)] : 0;
}

int main(int count, char **words)
{
    if (count != 5) {
        fprintf(stderr, "usage: latency PORT QUERYFILE RATE SECONDS\n");
        return 2;
    }
    double rate = atof(words[3]), duration = atof(words[4]), late = 0;
    long total = (long)(rate * duration), asked = 0;
    read_questions(words[2]);
    open_sockets(atoi(words[1]));
    window_count = (long)(duration / WINDOW) + 100;
    latencies = calloc(total + 1, sizeof *latencies);
    windows = calloc(window_count, sizeof *windows);
    if (!latencies || !windows)
        fail("calloc");
    prctl(PR_SET_TIMERSLACK, 1);
    began = now();
    while (asked < total) {
        double due = began + asked / rate, time = now();
        if (time < due) {
            wait_until(due);
            continue;
        }
        if (time - due > late)
            late = time - due;
        ask(asked++);
        if (asked % SOCKETS == 0)
            wait_until(0); /* a burst must not fill the sockets with replies */
    }
    for (double end = now() + PATIENCE; received < total && now() < end;)
        wait_until(end);
    qsort(latencies, received, sizeof *latencies, ascending);
    printf("sent %ld\nlost %ld\nservfail %ld\nslow %ld\nlate %.3f\n", asked, asked - received, servfails, slow,
           1e3 * late);
    printf("p50 %.3f\np99 %.3f\np99.9 %.3f\nmax %.3f\n", percentile(.5), percentile(.99), percentile(.999),
           percentile(1));
    for (long i = 0; i < window_count; i++)
        if (windows[i] > 0)
            printf("window %.1f %.1f\n", i * WINDOW, 1e3 * windows[i]);
    return 0;
}
