/* The floor under every figure: a UDP server that does nothing but turn each datagram round, as cheaply as Linux lets
 * it. It sets QR, replies from the address that was asked (IP_PKTINFO), and serves until it is killed.
 *
 *     echo PORT [LETTER]
 *
 * With a LETTER it is an upstream whose replies a cache may keep: to a name that begins with that letter it adds an
 * address, TTL an hour. Its other replies have no record, no SOA either, so that nobody keeps them (RFC 2308 section 5).
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, LARGEST = 2048, RECEIVE_BUFFER = 4 << 20 };
enum { FLAGS = 2, QR = 0x80 }; /* the header's third octet (RFC 1035 section 4.1.1) */
enum { ANSWERS = 7, HEADER = 12, TYPE_AND_CLASS = 4 };

/* A record whose owner is the question's name: type A, class IN, an hour, 192.0.2.1 (RFC 5737). */
static const uint8_t RECORD[] = {0xc0, HEADER, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 192, 0, 2, 1};

struct datagram {
    struct sockaddr_in peer;
    struct iovec vector;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in_pktinfo))];
    uint8_t octets[LARGEST];
};

static struct datagram datagrams[BATCH];
static struct mmsghdr messages[BATCH];

/* Give the kernel its whole buffers back: what it received has overwritten their sizes. */
static void offer(int i)
{
    struct msghdr *header = &messages[i].msg_hdr;
    datagrams[i].vector.iov_len = LARGEST;
    header->msg_namelen = sizeof datagrams[i].peer;
    header->msg_controllen = sizeof datagrams[i].control;
}

/* Put the record behind the question, before an OPT record if there is one; return the size then. */
static size_t answer(uint8_t *octets, size_t size)
{
    size_t end = HEADER;
    while (end < size && octets[end])
        end += octets[end] + 1u;
    end += 1 + TYPE_AND_CLASS;
    if (end > size || size + sizeof RECORD > LARGEST)
        return size;
    memmove(octets + end + sizeof RECORD, octets + end, size - end);
    memcpy(octets + end, RECORD, sizeof RECORD);
    octets[ANSWERS] = 1;
    return size + sizeof RECORD;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, size = RECEIVE_BUFFER, fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0)
        fail("socket");
    if (setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) < 0)
        fail("IP_PKTINFO");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size); /* cut to net.core.rmem_max, which is no error */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    return fd;
}

int main(int count, char **words)
{
    if (count != 2 && count != 3) {
        fprintf(stderr, "usage: echo PORT [LETTER]\n");
        return 2;
    }
    int letter = count == 3 ? words[2][0] : -1;
    int fd = listen_on(atoi(words[1]));
    for (int i = 0; i < BATCH; i++) {
        datagrams[i].vector.iov_base = datagrams[i].octets;
        messages[i].msg_hdr = (struct msghdr){.msg_name = &datagrams[i].peer, .msg_iov = &datagrams[i].vector,
                                              .msg_iovlen = 1, .msg_control = datagrams[i].control};
        offer(i);
    }
    for (;;) {
        int received = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        if (received < 0)
            fail("recvmmsg");
        for (int i = 0; i < received; i++) {
            datagrams[i].octets[FLAGS] |= QR;
            datagrams[i].vector.iov_len = messages[i].msg_len;
            if (letter >= 0 && messages[i].msg_len > HEADER + 1 && datagrams[i].octets[HEADER + 1] == letter)
                datagrams[i].vector.iov_len = answer(datagrams[i].octets, messages[i].msg_len);
        }
        sendmmsg(fd, messages, received, 0);
        for (int i = 0; i < received; i++)
            offer(i);
    }
}
