#!/usr/bin/perl
# An HTTP server that stops as a server should: on SIGTERM it takes no more connections, answers what it has been asked, tells
# clients that keep connections open to take another one, and ends when all have gone.
#
#   GET /?sleep=5   answers after 5 seconds
#
# Every answer has one line: "<hostname> <address of the client>".
use strict;
use warnings;
use IO::Socket::INET;

# How long a connection without a request may stay once the server is to stop.
my $linger = 3;
my $name   = `hostname`;
chomp $name;

my $stop   = 0;
my $server = IO::Socket::INET->new(
    LocalPort => $ARGV[0] || 80, Proto => 'tcp', Listen => 128, ReuseAddr => 1,
) or die "cannot listen: $!";
$SIG{TERM} = sub { $stop = 1 };
$SIG{PIPE} = 'IGNORE';
my %children;

until ($stop) {
    wait_for($server, 0.2);
    accept_all();
    reap(1);
}
# What has connected already is served.
accept_all();
close $server;
kill 'TERM', keys %children;
reap(0) while %children;

sub accept_all {
    $server->blocking(0);
    while (my $client = $server->accept) {
        my $pid = fork // die "cannot fork: $!";
        if ($pid == 0) { close $server; $client->blocking(1); serve($client); exit 0 }
        $children{$pid} = 1;
        close $client;
    }
}

sub reap {
    my ($nohang) = @_;
    while ((my $pid = waitpid -1, $nohang) > 0) { delete $children{$pid} }
    %children = () if $!{ECHILD};
}

sub wait_for {
    my ($socket, $seconds) = @_;
    my $set = '';
    vec($set, fileno($socket), 1) = 1;
    return select($set, undef, undef, $seconds);
}

sub serve {
    my ($client) = @_;
    my $closing = $stop;
    $SIG{TERM} = sub { $closing = 1 };
    # It may have come between the two lines above, when the parent's answer to it was still in force.
    $closing ||= $stop;
    my $peer = $client->peerhost // '?';
    my $text = '';
    while (1) {
        until ($text =~ /\r\n\r\n/) {
            my $was   = $closing;
            my $ready = wait_for($client, $closing ? $linger : 60);
            next if $ready < 0 || ($ready == 0 && $closing && !$was);
            return if $ready == 0;
            my $got = sysread $client, $text, 65536, length $text;
            return unless $got;
        }
        $text =~ s/^(.*?)\r\n\r\n//s;
        my $head = $1;
        if ($head =~ /[?&]sleep=(\d+)/) {
            my $end = time + $1;
            # Signals interrupt it.
            while ((my $left = $end - time) > 0) { select undef, undef, undef, $left }
        }
        my $last = $closing || $head =~ /^connection:\s*close/im;
        my $body = "$name $peer\n";
        syswrite $client, join "\r\n", 'HTTP/1.1 200 OK', 'Content-Length: ' . length $body,
          'Connection: ' . ($last ? 'close' : 'keep-alive'), '', $body;
        return if $last;
    }
}
